"""Bad inputs that users really make: each is one `error:` line that names it, with exit code 2, and nothing is lost."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from clones import set_params, substitute
from data_samples import class_folders, write_files
from forked import Forked

from src.core.paths import PREPARED

pytestmark = pytest.mark.slow

DOWNLOAD, SPLIT, TRAIN, VISUALIZE = (f"stages.{name}" for name in ("download", "split", "train", "visualize"))
CHECK = "src.params"
TRAIN_IMAGES, TRAIN_LABELS = PREPARED / "train/images-00000.npy", PREPARED / "train/labels.npy"
TWO = class_folders({"cat": 8, "dog": 8})
KEPT = ("data/raw", "data/prepared", "models", "reports")

Harm = Callable[[Path], object]


class Case(NamedTuple):
    harm: Harm  # what is done to the folder of a finished run
    command: str
    message: str  # must be in the line; "": nothing is wrong
    before: str = ""  # a command that succeeds


def both(*harms: Harm) -> Harm:
    return lambda folder: [harm(folder) for harm in harms]


def conflict(folder: Path) -> None:
    substitute(folder / "params.yaml", "seed: 0 ", "<<<<<<< HEAD\nseed: 0\n=======\nseed: 1\n>>>>>>> other\n")


def content(name: str | Path, data: bytes | str) -> Harm:
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def removed(name: str | Path) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    return harm


def cut(name: str | Path) -> Harm:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def array(name: Path, change: Callable[[np.ndarray], np.ndarray]) -> Harm:
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def photos(files: dict[str, bytes], **values: Any) -> Harm:
    """A folder `photos`, and the parameters that name it."""

    def harm(folder: Path) -> None:
        (folder / "photos").mkdir()
        write_files(folder / "photos", files)
        data = {"name": "image_folder", "source": "photos"} | values
        set_params(folder, {f"data.{name}": value for name, value in data.items()})

    return harm


def link(name: str, target: str) -> Harm:
    return both(photos(TWO), lambda folder: (folder / name).symlink_to(target))


CASES = {
    # params.yaml as a file
    "missing": Case(removed("params.yaml"), CHECK, "params.yaml is missing"),
    "not UTF-8": Case(content("params.yaml", "seed: 0 # Schlüssel".encode("latin-1")), CHECK, "not UTF-8"),
    "a merge conflict": Case(conflict, DOWNLOAD, "line 6"),
    # photos and sources
    "a wrong path": Case(photos(TWO, source="photso"), DOWNLOAD, "photso does not exist"),
    "an empty folder": Case(photos({}), DOWNLOAD, "empty folder"),
    "too many pixels": Case(photos(TWO, max_megapixels=0.00003), SPLIT, "raise data.max_megapixels", DOWNLOAD),
    "a broken link": Case(link("photos/cat/x.png", "nothing"), DOWNLOAD, "leads nowhere"),
    "data/raw as source": Case(photos({}, source="data/raw"), DOWNLOAD, "lies in or holds data/raw"),
    "no archive": Case(photos({}, source="params.yaml"), DOWNLOAD, "is no folder, no .parquet and no complete archive"),
    "an s3 address": Case(photos({}, source="s3://me:secret@bucket/x"), DOWNLOAD, "s3://bucket/x: not a valid URL"),
    # prepared data
    "images cut off": Case(cut(TRAIN_IMAGES), TRAIN, "train/images-00000.npy is damaged"),
    "a pickle of labels": Case(array(TRAIN_LABELS, lambda a: a.astype(object)), TRAIN, "train/labels.npy is damaged"),
    # the model, results, settings that do not fit
    "no metrics": Case(removed("reports/metrics.json"), "src.summary", "reports/metrics.json is missing"),
    "models is a file": Case(both(removed("models"), content("models", "")), TRAIN, "models"),
    "another folder": Case(removed("src"), CHECK, "commands run from the repository's root"),
    "an image that is not there": Case(
        lambda folder: set_params(folder, {"visualize.image": 99999}), VISUALIZE, "visualize.image is 99999"
    ),
    # odd, and accepted
    "a link to a photo": Case(link("photos/dog/x.png", "../cat/0.png"), DOWNLOAD, ""),
    "a fifo": Case(both(photos(TWO), lambda folder: os.mkfifo(folder / "photos/cat/pipe.png")), DOWNLOAD, ""),
}


def digests(folder: Path) -> dict[Path, str]:
    files = [path for name in KEPT for path in (folder / name).rglob("*") if path.is_file()]
    return {path: hashlib.md5(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_input_is_one_line_and_loses_nothing(name: str, forked: Forked, finished: Path, tmp_path: Path) -> None:
    case, folder = CASES[name], tmp_path / "run"
    shutil.copytree(finished, folder, symlinks=True)
    case.harm(folder)
    if case.before:
        forked.run(folder, case.before)
    before = digests(folder)
    output = forked.run(folder, case.command, 2 if case.message else 0)
    lines = re.findall(r"^(?:[\w.]+: )?error: (.*)", output, re.MULTILINE)
    assert "Traceback" not in output
    if case.message:
        (line,) = lines
        assert case.message in line
        assert digests(folder) == before
