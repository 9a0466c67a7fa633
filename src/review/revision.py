"""The state of the repository at a commit, or in the working tree: files that git tracks, and the results among them.

Nothing here needs data, models, a DVC remote or a network.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas

from src.core.documents import keys, read_json, read_yaml
from src.core.dvc import read_lock, read_pipeline
from src.core.errors import UserError
from src.core.git import blobs, versions
from src.core.paths import ENVIRONMENT, LOCK, METRICS, MODEL, PARAMS, PIPELINE, TRAINING
from src.evaluation import tables


def git(*arguments: str) -> bytes:
    """What git prints. Raises `UserError` with git's own reason where it refuses."""
    try:
        run = subprocess.run(["git", "--no-optional-locks", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not installed: revisions cannot be read") from None
    if run.returncode:
        reason = run.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"git {arguments[0]}: {reason[0] if reason else 'it refuses'}")
    return run.stdout


@dataclass(frozen=True)
class Revision:
    """Files that git tracks (in the working tree also those that it would), read at a commit or as they are now.

    What is damaged is a `UserError`. But nobody can mend a commit that others build on: a `tolerant` revision lacks
    what is damaged, and says why.
    """

    name: str
    commit: str | None  # None: the working tree
    tolerant: bool = False
    damaged: dict[Path, str] = field(default_factory=dict, compare=False)  # why, as far as it was read

    def listed(self, paths: Iterable[Path]) -> list[Path]:
        """Files at or below the paths that exist and that git does not ignore."""
        names = [f":(literal){path.as_posix()}" for path in paths]
        if not names:
            return []
        if self.commit is None:
            output = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *names)
            return sorted({path for path in map(Path, texts(output)) if path.is_file()})
        # ls-tree takes plain paths only.
        output = git("ls-tree", "-r", "-z", "--name-only", self.commit, "--", *(path.as_posix() for path in paths))
        return sorted(map(Path, texts(output)))

    def read(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """The contents of those files that exist."""
        paths = list(paths)
        if self.commit is None:
            return {path: path.read_bytes() for path in paths if path.is_file()}
        contents = blobs([f"{self.commit}:./{path.as_posix()}" for path in paths])
        return {path: content for path, content in zip(paths, contents, strict=True) if content is not None}

    def _one(self, path: Path) -> bytes | None:
        return self.read([path]).get(path)

    def json(self, path: Path) -> dict[str, Any]:
        """Its keys and values; none where the file is missing."""
        content = self._one(path)
        try:
            return keys(None if content is None else read_json(content))
        except ValueError as error:
            self.refuse(path, f"is not a JSON object ({error})", "run dvc repro")
            return {}

    def yaml(self, path: Path) -> dict[str, Any]:
        """Its keys and values; none where the file is missing."""
        content = self._one(path)
        try:
            return keys(None if content is None else read_yaml(content))
        except ValueError as error:
            self.refuse(path, f"is not valid YAML ({error})", "mend it")
            return {}

    def table(self, path: Path, *columns: str) -> pandas.DataFrame | None:
        """A table as `src.evaluation.tables` writes it, which must have the columns; None where the file is missing."""
        content = self._one(path)
        if content is None:
            return None
        try:
            return tables.parse(content, *columns)
        except ValueError as error:
            self.refuse(path, f"is damaged ({error})", "run dvc repro")
            return None

    def refuse(self, path: Path, reason: str, remedy: str) -> None:
        """A file is damaged. Raises `UserError` unless the revision is tolerant."""
        if not self.tolerant:
            raise UserError(f"{path} of {self.name} {reason}: {remedy}") from None
        self.damaged[path] = reason

    def text(self, path: Path) -> str:
        return (self._one(path) or b"").decode("utf-8", errors="replace")

    @cached_property
    def params(self) -> dict[str, Any]:
        return self.yaml(PARAMS)

    @cached_property
    def pipeline(self) -> dict[str, Any]:
        return self._stages(PIPELINE, read_pipeline)

    @cached_property
    def lock(self) -> dict[str, Any]:
        """The stages of `dvc.lock`."""
        return self._stages(LOCK, read_lock)

    def _stages(self, path: Path, read: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
        try:
            return read(self._one(path) or b"")
        except ValueError as error:
            self.refuse(path, f"has no stages that can be read ({error})", f"git log -p {path} shows why")
            return {}

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """`training.json` and `metrics.json` in one, those of test with `test_` before them."""
        training, metrics = self.json(TRAINING), self.json(METRICS)
        return training | {f"test_{key}": value for key, value in metrics.items()}

    @cached_property
    def environment(self) -> dict[str, Any]:
        return self.json(ENVIRONMENT)

    def output(self, path: Path) -> Mapping[str, Any]:
        """What `dvc.lock` records of a stage's output: md5, size; empty where it records none."""
        for stage in self.lock.values():
            for entry in stage.get("outs", []):
                if entry["path"] == path.as_posix():
                    return dict(entry)
        return {}

    @property
    def model_md5(self) -> str | None:
        return self.output(MODEL).get("md5")


def working_tree() -> Revision:
    git("rev-parse", "--git-dir")
    return Revision("the working tree", None)


def at(name: str) -> Revision:
    """The commit that `name` stands for. Raises `UserError` where there is none."""
    try:
        commit = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except UserError:
        raise UserError(f"git knows no commit {name!r}: fetch it, or name another") from None
    return Revision(commit[:9] if commit.startswith(name) else f"{name} ({commit[:9]})", commit)


def merge_base(first: Revision, second: Revision) -> Revision:
    """The newest commit that both build on; the working tree builds on HEAD. Raises `UserError` where there is none."""
    ends = [revision.commit or "HEAD" for revision in (first, second)]
    try:
        commit = git("merge-base", *ends).decode().strip()
    except UserError:
        raise UserError(
            f"{first.name} and {second.name} have no commit in common: git fetch --unshallow, or use --exact"
        ) from None
    return first if commit == first.commit else Revision(f"{commit[:9]}, on which {second.name} builds", commit)


def locks() -> dict[str, str]:
    """Every `dvc.lock` that git's history holds, on any branch, by commit; the newest first."""
    return {commit: text.decode(errors="replace") for commit, text in versions(LOCK)}


def recorded(lock: str, stage: str, path: Path) -> str | None:
    """The md5 that the text of a `dvc.lock` has for a dependency or output of a stage.

    Read by its layout, which DVC alone writes: a YAML reader takes 50 ms for each of a history's many.
    """
    block = re.search(rf"^  {re.escape(stage)}:\n((?:    .*\n?)*)", lock, re.MULTILINE)
    if block is None:
        return None
    md5 = re.search(rf"- path: {re.escape(path.as_posix())}\n(?:      .*\n)*?      md5: (\S+)", block[1])
    return md5[1] if md5 else None


def texts(output: bytes) -> list[str]:
    """Return what git prints with `-z`, each on its own."""
    return [name for name in output.decode("utf-8", errors="surrogateescape").split("\0") if name]
