"""Files that change while they are read: what comes out is of one version, or one line says so."""

import os
import re
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import pytest
from data_samples import class_folders, pack_tar, png, run_stages, write_files

from src.core.errors import UserError
from src.core.paths import RAW
from src.data import verify
from src.data.archives import members
from src.data.prepared import array_paths
from src.data.raw import fetch_raw
from src.data.verify import open_checked

HALF = 2**14  # bytes read before the harm
PHOTO = "photos/cat/big.png"
FILES = class_folders({"cat": 9, "dog": 9}) | {"cat/big.png": png(99, 128)}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)


def replaced(path: Path) -> None:
    """By another file under its name, as programs do that write safely."""
    Path("new").write_bytes(bytes(reversed(path.read_bytes())))
    Path("new").replace(path)


def written_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-9, os.SEEK_END)
        file.write(bytes(9))


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(99))


def cut(path: Path) -> None:
    os.truncate(path, HALF + 1)


WhileRead = Callable[[str, Callable[[Path], None]], None]


@pytest.fixture
def while_read(monkeypatch: pytest.MonkeyPatch) -> WhileRead:
    """Does the harm to the named file once its beginning was read: where a folder is packed, where a file is copied."""

    def prepare(name: str, harm: Callable[[Path], None]) -> None:
        pack = tarfile.copyfileobj  # type: ignore[attr-defined]

        def packing(source: IO[bytes], target: IO[bytes], length: int, *rest: Any, **named: Any) -> None:
            if source.name == name:
                pack(source, target, HALF, *rest, **named)
                harm(Path(name))
                length -= HALF
            pack(source, target, length, *rest, **named)

        def copying(source: Path, target: Path) -> None:
            with source.open("rb") as file, target.open("wb") as copy:
                copy.write(file.read(HALF))
                harm(source)
                copy.write(file.read())

        monkeypatch.setattr(tarfile, "copyfileobj", packing)
        monkeypatch.setattr(shutil, "copyfile", copying)

    return prepare


@pytest.mark.parametrize("harm", [written_over, longer, cut])
@pytest.mark.parametrize("source", ["photos", "photos.tar"])
def test_a_source_that_is_written_meanwhile_is_one_line_and_the_last_good_one_is_kept(
    harm: Callable[[Path], None], source: str, while_read: WhileRead
) -> None:
    write_files(Path("photos"), FILES)
    pack_tar(Path("photos.tar"), FILES)
    fetch_raw("image_folder", source, None)
    before = {path.name: path.read_bytes() for path in RAW.iterdir()}
    changed = str(Path(PHOTO if source == "photos" else source).resolve())
    while_read(changed, harm)
    with pytest.raises(UserError, match=f"^{re.escape(changed)} changed while it was read: start again$"):
        fetch_raw("image_folder", source, None)
    assert {path.name: path.read_bytes() for path in RAW.iterdir()} == before
    assert [path.name for path in RAW.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("source", ["photos", "photos.tar"])
def test_a_source_that_is_replaced_meanwhile_is_the_one_that_was_opened(source: str, while_read: WhileRead) -> None:
    write_files(Path("photos"), FILES)
    pack_tar(Path("photos.tar"), FILES)
    changed = str(Path(PHOTO if source == "photos" else source).resolve())
    while_read(changed, replaced)
    fetch_raw("image_folder", source, None)
    (archive,) = RAW.iterdir()
    assert {member.name: member.read() for member in members(archive)} == FILES


def test_an_array_that_is_replaced_meanwhile_is_the_one_that_was_opened_and_told_at_the_next_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = run_stages(write_files(Path("photos"), FILES), image_size=32)
    path = array_paths("train")[0]
    whole = np.load(path)
    (opened,) = open_checked(dataset, "train")

    class Stop(threading.Event):
        """Is looked at after every piece that was read."""

        def is_set(self) -> bool:
            np.save("new.npy", 255 - whole)
            Path("new.npy").replace(path)
            return super().is_set()

    monkeypatch.setattr(verify, "_PIECE", 2**12)
    with monkeypatch.context() as patch:
        patch.setattr(verify, "threading", SimpleNamespace(Event=Stop, Thread=threading.Thread))
        with verify.verifying(dataset, "train") as reading:
            assert list(reading.before([1])) == [1]
    np.testing.assert_array_equal(opened.images, whole)
    np.testing.assert_array_equal(np.load(path), 255 - whole)
    with pytest.raises(UserError, match=r"train\.images\.npy is not the file"), verify.verifying(dataset, "train"):
        pass
