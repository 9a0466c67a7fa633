"""The repository as a user gets it, in a folder of its own, and commands that run there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.params.writing import changed, recipe

ROOT = Path.cwd()
DIGITS = recipe("digits")
# What users edit and what their runs leave, photos that DVC tracks too: the tests pass whatever it is.
USER_FILES = re.compile(r"params\.yaml|(tune/)?dvc\.lock|(data|models|reports)/.*(?<!/\.gitignore)|data/\.gitignore")
COMMITTER = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]


def call(clone: Path, *command: str, fails: bool = False) -> str:
    """Return output and errors of a command in the clone, which finds this environment's programs first."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    run = subprocess.run(
        command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert (run.returncode != 0) == fails, run.stdout
    return run.stdout


def git(clone: Path, *arguments: str) -> str:
    return call(clone, "git", *COMMITTER, *arguments)


def substitute(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def set_params(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change values of the folder's `params.yaml`, by dotted keys."""
    file = folder / "params.yaml"
    file.write_text(changed(file.read_text(encoding="utf-8"), changes), encoding="utf-8")


def own_files() -> list[str]:
    """List the files of the working tree that git tracks or would track, without those that are the user's."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [
        name for name in filter(None, listed.split("\0")) if (ROOT / name).is_file() and not USER_FILES.fullmatch(name)
    ]


def copy_of_the_repository(target: Path) -> Path:
    """Copy the repository with the parameters of the recipe digits, without photos, results and `dvc.lock`."""
    for name in own_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    (target / "params.yaml").write_text(DIGITS, encoding="utf-8")
    (target / "data/.gitignore").write_text("/raw\n")
    (target / "data/images").mkdir()
    (target / "data/images/.gitkeep").touch()
    (target / "data/corrections.csv").write_text("file,action,value,reason\n")
    # `make` finds the environment of this test run.
    (target / ".venv").symlink_to(Path(sys.prefix).resolve())
    return target


def linked(folder: Path) -> Path:
    """Link all that a stage needs of the repository, and write the parameters of the recipe digits."""
    folder.mkdir(exist_ok=True)
    for name in ("src", "stages", "dvc.yaml", "requirements.lock"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "params.yaml").write_text(DIGITS, encoding="utf-8")
    return folder


def committed(folder: Path) -> Path:
    """Make the folder a git repository of one commit, and return it."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start")
    return folder
