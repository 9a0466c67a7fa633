"""Bad inputs that users really make: each is one `error:` line that names it, with exit code 2, and nothing is lost."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from clones import set_params
from data_samples import class_folders, write_files
from forked import Forked

pytestmark = pytest.mark.slow

DOWNLOAD, SPLIT, TRAIN, VISUALIZE = (f"stages.{name}" for name in ("download", "split", "train", "visualize"))
CHECK = "src.params"
TRAIN_IMAGES = "data/prepared/train/images-00000.npy"
PHOTOS = {"data.name": "image_folder", "data.source": "photos"}  # of cats and dogs
KEPT = ("data/raw", "data/prepared", "models", "reports")


class Case(NamedTuple):
    command: str
    message: str  # must be in the line; "": nothing is wrong
    harm: str = ""  # what bash does in the folder of a finished run
    params: Mapping[str, Any] = {}  # and what is changed in its parameters
    before: str = ""  # a command that succeeds


CASES = {
    # params.yaml as a file
    "missing": Case(CHECK, "params.yaml is missing", "rm params.yaml"),
    "not UTF-8": Case(CHECK, "not UTF-8", r"printf '# Schl\xfcssel' >> params.yaml"),
    "a merge conflict": Case(
        DOWNLOAD,
        "line 6",
        r"sed -i 's/^seed: 0 /<<<<<<< HEAD\nseed: 0\n=======\nseed: 1\n>>>>>>> other\n/' params.yaml",
    ),
    # photos and sources
    "a wrong path": Case(DOWNLOAD, "photso does not exist", "", PHOTOS | {"data.source": "photso"}),
    "an empty folder": Case(DOWNLOAD, "empty folder", "rm -r photos/*", PHOTOS),
    "too many pixels": Case(
        SPLIT, "raise data.max_megapixels", "", PHOTOS | {"data.max_megapixels": 0.00003}, before=DOWNLOAD
    ),
    "a broken link": Case(DOWNLOAD, "leads nowhere", "ln -s nothing photos/cat/x.png", PHOTOS),
    "data/raw as source": Case(DOWNLOAD, "lies in or holds data/raw", "", PHOTOS | {"data.source": "data/raw"}),
    "no archive": Case(
        DOWNLOAD, "is no folder, no .parquet and no complete archive", "", PHOTOS | {"data.source": "params.yaml"}
    ),
    "an s3 address": Case(
        DOWNLOAD, "s3://bucket/x: not a valid URL", "", PHOTOS | {"data.source": "s3://me:secret@bucket/x"}
    ),
    # prepared data
    "images cut off": Case(TRAIN, "train/images-00000.npy is damaged", f"truncate -s 999 {TRAIN_IMAGES}"),
    "a pickle of labels": Case(TRAIN, "train/labels.npy is damaged", "mv pickle.npy data/prepared/train/labels.npy"),
    # the model, results, settings that do not fit
    "no metrics": Case("src.summary", "reports/metrics.json is missing", "rm reports/metrics.json"),
    "models is a file": Case(TRAIN, "models", "rm -r models; touch models"),
    "another folder": Case(CHECK, "commands run from the repository's root", "rm src"),
    "an image that is not there": Case(VISUALIZE, "visualize.image is 99999", "", {"visualize.image": 99999}),
    # odd, and accepted
    "a link to a photo": Case(DOWNLOAD, "", "ln -s ../cat/0.png photos/dog/x.png", PHOTOS),
    "a fifo": Case(DOWNLOAD, "", "mkfifo photos/cat/pipe.png", PHOTOS),
}


def digests(folder: Path) -> dict[Path, str]:
    files = [path for name in KEPT for path in (folder / name).rglob("*") if path.is_file()]
    return {path: hashlib.md5(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_input_is_one_line_and_loses_nothing(name: str, forked: Forked, finished: Path, tmp_path: Path) -> None:
    case, folder = CASES[name], tmp_path / "run"
    shutil.copytree(finished, folder, symlinks=True)
    write_files(folder / "photos", class_folders({"cat": 8, "dog": 8}))
    np.save(folder / "pickle.npy", np.load(folder / "data/prepared/train/labels.npy").astype(object))
    set_params(folder, case.params)
    subprocess.run(["bash", "-euc", case.harm], cwd=folder, check=True)
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
