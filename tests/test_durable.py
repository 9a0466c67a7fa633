"""What survives a power failure, on a disk whose power really fails, and what is looked at after one."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import clones
import mounts
import pytest

from src import durable, recover
from src.atomic import write_text
from src.paths import LOCK, dvc_objects, dvc_runs, synced


@pytest.fixture(autouse=True)
def _clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(durable, "_boot", lambda: "this")
    synced().parent.mkdir()


def kept(content: bytes, suffix: str = "") -> Path:
    """An object of DVC's cache."""
    name = hashlib.md5(content).hexdigest()
    path = dvc_objects() / name[:2] / f"{name[2:]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found() -> int:
    """How many objects are damaged; then a sync."""
    damaged = durable.damaged()
    durable.mark()
    return len(damaged)


def marked(boot: str, moment: int = 0) -> None:
    synced().write_text(f"{boot} {moment}")


def test_what_is_replaced_or_synced_is_there_after_a_power_failure(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    with mounts.disk(place) as disk:
        for number in range(3):
            write_text(place / "replaced", f"{number} " * 10_000)
        (place / "written").write_text("written")
        os.chdir(place)
        durable.sync()
        (place / "later").write_text("later")
        os.chdir(tmp_path)
        disk.fail()
        disk.restart()
        assert (place / "replaced").read_text() == "2 " * 10_000
        assert (place / "written").read_text() == "written"
        assert not (place / "later").exists() or not (place / "later").read_text(), "else no power failed"


def test_a_file_is_replaced_for_good_without_another_sync(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    with mounts.disk(place) as disk:
        write_text(place / "name", "new")
        disk.fail()
        disk.restart()
        assert (place / "name").read_text() == "new"


def test_what_killed_processes_left_beside_a_file_goes_when_it_is_written_again(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = f".a[1].{dead.pid}.tmp", f".a[1].{os.getppid()}.tmp", ".a[1].b.tmp", f".a1.{dead.pid}.tmp"
    left = [tmp_path / name for name in names]
    for path in left:
        path.touch()
    write_text(tmp_path / "a[1]", "new")
    assert [path.exists() for path in left] == [False, True, True, True]


def test_damaged_objects_younger_than_the_mark_go_after_a_start_of_the_machine() -> None:
    old = kept(b"old")
    os.truncate(old, 0)
    moment = old.stat().st_ctime_ns
    whole, listing, damaged, cut_listing = kept(b"whole"), kept(b"[]", ".dir"), kept(b"damaged"), kept(b"[{}]", ".dir")
    for path in (damaged, cut_listing):
        os.truncate(path, 2)
    copied = damaged.with_name("tmp")
    copied.write_bytes(b"what DVC is copying")
    for path in (whole, listing, damaged, cut_listing):
        while path.stat().st_ctime_ns <= moment:
            path.touch()
    marked("this")
    assert found() == 0, "this machine has not lost power"
    marked("earlier", moment)
    assert set(durable.damaged()) == {damaged, cut_listing}


def test_with_damaged_objects_what_may_name_them_goes_too() -> None:
    entries = [dvc_runs() / "ab" / "abcd" / name for name in ("old", "young")]
    for path in entries:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("outs")
    moment = entries[0].stat().st_ctime_ns
    while entries[1].stat().st_ctime_ns <= moment:
        entries[1].touch()
    empty = kept(b"content")
    os.truncate(empty, 0)
    marked("earlier", moment)
    durable.remove([empty])
    assert [path.exists() for path in (*entries, empty)] == [True, False, False]


@pytest.mark.parametrize("named", ["itself", "in a folder", "in a lost folder", ""])
def test_recover_removes_and_tells(capsys: pytest.CaptureFixture[str], named: str) -> None:
    committed = "schema: '2.0'\n"
    LOCK.write_text(committed, encoding="utf-8")
    clones.committed(Path.cwd())
    empty = kept(b"content")
    name = empty.parent.name + empty.name
    folder = kept(json.dumps([{"md5": name, "relpath": "file"}]).encode(), ".dir")
    recorded = {"itself": name, "": "1a" * 16}.get(named, folder.parent.name + folder.name)
    LOCK.write_text(f"{committed}stages: {{a: {{cmd: a, outs: [{{path: a, md5: {recorded}}}]}}}}\n", encoding="utf-8")
    newer = LOCK.read_text(encoding="utf-8")
    os.truncate(empty, 0)
    if named == "in a lost folder":
        os.truncate(folder, 0)
    (dvc_runs() / "ab" / "abcd").mkdir(parents=True)
    recover.main()
    told = capsys.readouterr().out
    assert f"by a power failure: {2 if named == 'in a lost folder' else 1} file" in told
    assert ("names damaged files: the committed one is back" in told) == bool(named)
    assert LOCK.read_text(encoding="utf-8") == (committed if named else newer)
    assert not empty.exists()
    assert not any((dvc_runs() / "ab").iterdir()), "DVC fails at an empty folder of runs"
    recover.main()
    assert capsys.readouterr().out == ""


def test_the_mark_is_of_this_start_and_of_before_the_sync() -> None:
    before = time.time_ns()
    assert found() == 0
    boot, moment = synced().read_text().split()
    assert boot == "this"
    assert before - 10**9 < int(moment) < before


@pytest.mark.parametrize("mark", [None, "", "one", "two words", "earlier 0", "this 99999999999999999999"])
def test_without_a_whole_mark_everything_is_looked_at(mark: str | None) -> None:
    if mark is not None:
        synced().write_text(mark)
    os.truncate(kept(b"content"), 3)
    assert found() == 1


def test_what_cannot_be_read_is_left_to_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    kept(b"content")
    monkeypatch.setattr(durable, "digest", refuses)
    assert found() == 0


def test_a_sync_that_fails_leaves_no_mark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(durable, "_sync", fails)
    assert found() == 0
    assert not synced().exists()
    assert "Input/output error" in capsys.readouterr().err


def test_reading_much_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kept(b"content")
    durable.damaged()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(durable, "_LARGE", 6)
    durable.damaged()
    assert "0.0 GiB" in capsys.readouterr().out


def test_a_start_of_the_machine_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if sys.platform == "linux":
        assert durable._boot() == durable._boot() != ""
    else:
        assert durable._boot() != durable._boot()
