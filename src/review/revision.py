"""The state of the repository at a commit, or in the working tree: files that git tracks, and the results among them.

Nothing here needs data, models, a DVC remote or a network.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas

from src.core.documents import keys, read_json, read_yaml
from src.core.dvc import read_lock, read_pipeline
from src.core.errors import UserError
from src.core.git import blobs, versions
from src.core.paths import LOCK, MEASURED, METRICS, MODEL, PARAMS, PIPELINE, TRAINING
from src.evaluation import tables

Parsed = TypeVar("Parsed")
_NUMBERS = {"index", "label_probability", "epoch", "value", "validation_accuracy", "test_accuracy"}  # columns of tables


def git(*arguments: str) -> bytes:
    """Return what git prints. Raises `UserError` with git's own reason if it refuses."""
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
    """Read files that git tracks (in the working tree also those that it would), at a commit or as they are now.

    A damaged file is a `UserError`. But nobody can repair a commit that others build on: a `tolerant` revision goes
    on without the file, and says why.
    """

    name: str
    commit: str | None  # None: the working tree
    tolerant: bool = False
    damaged: dict[Path, str] = field(default_factory=dict, compare=False)  # why, as far as it was read

    def listed(self, paths: Iterable[Path]) -> list[Path]:
        """List the files at or below the paths that exist and that git does not ignore."""
        paths = _inside(paths)
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
        """Return the contents of those files that exist."""
        paths = _inside(paths)
        if self.commit is None:
            return {path: path.read_bytes() for path in paths if path.is_file()}
        contents = blobs([f"{self.commit}:./{path.as_posix()}" for path in paths])
        return {path: content for path, content in zip(paths, contents, strict=True) if content is not None}

    def _parsed(self, path: Path, parse: Callable[[bytes], Parsed], missing: Parsed, fault: str, remedy: str) -> Parsed:
        """Parse a file; return `missing` without it, or if it is damaged and the revision tolerant."""
        content = self.read([path]).get(path)
        if content is None:
            return missing
        try:
            return parse(content)
        except ValueError as error:
            self.refuse(path, f"{fault} ({error})", remedy)
            return missing

    def json(self, path: Path) -> dict[str, Any]:
        """Return keys and values; none if the file is missing."""
        return self._parsed(path, lambda text: keys(read_json(text)), {}, "is not a JSON object", "run dvc repro")

    def table(self, path: Path, *columns: str) -> pandas.DataFrame | None:
        """Return a table with the columns, as `src.evaluation.tables` writes it; None if the file is missing."""

        def parse(text: bytes) -> pandas.DataFrame:
            table = tables.parse(text, *columns)
            for column in columns if len(table) else ():
                if column in _NUMBERS and not pandas.api.types.is_numeric_dtype(table[column]):
                    raise ValueError(f"its column {column} holds more than numbers")
            return table

        return self._parsed(path, parse, None, "is damaged", "run dvc repro")

    def refuse(self, path: Path, reason: str, remedy: str) -> None:
        """Raise a `UserError` about a damaged file; note the reason instead if the revision is tolerant."""
        if not self.tolerant:
            raise UserError(f"{path} of {self.name} {reason}: {remedy}") from None
        self.damaged[path] = reason

    def text(self, path: Path) -> str:
        """Return a file's text; none if it is missing."""
        return self.read([path]).get(path, b"").decode("utf-8", errors="replace")

    @cached_property
    def recipe(self) -> str:
        """Return the name of the recipe that `params.yaml` was written from; "" where its first line has none."""
        return recipe_of(self.read([PARAMS]).get(PARAMS, b""))

    @cached_property
    def params(self) -> dict[str, Any]:
        """Return the content of `params.yaml`."""
        return self._parsed(PARAMS, lambda text: keys(read_yaml(text)), {}, "is not valid YAML", "repair it")

    @cached_property
    def pipeline(self) -> dict[str, Any]:
        """Return the stages of `dvc.yaml`."""
        remedy = f"git log -p {PIPELINE} shows why"
        return self._parsed(PIPELINE, read_pipeline, {}, "has no stages that can be read", remedy)

    @cached_property
    def lock(self) -> dict[str, Any]:
        """Return the stages of `dvc.lock`."""
        return self._parsed(LOCK, read_lock, {}, "has no stages that can be read", f"git log -p {LOCK} shows why")

    @cached_property
    def numbers(self) -> dict[str, Any]:
        """Return `training.json`, `metrics.json` and `measured.csv` in one, the numbers of test with `test_` before."""
        training, metrics = self.json(TRAINING), self.json(METRICS)
        if (measured := self.table(MEASURED, "metric", "value")) is not None:
            metrics = dict(zip(measured["metric"], measured["value"].tolist(), strict=True)) | metrics
        return training | {f"test_{key}": value for key, value in metrics.items()}

    def output(self, path: Path) -> Mapping[str, Any]:
        """Return what `dvc.lock` records of a stage's output: md5, size; nothing if it records none."""
        for stage in self.lock.values():
            for entry in stage.get("outs", []):
                if entry["path"] == path.as_posix():
                    return dict(entry)
        return {}

    @property
    def model_md5(self) -> str | None:
        """Return the identity of the model, if there is one."""
        return self.output(MODEL).get("md5")

    def has_model_of(self, other: "Revision") -> bool:
        """Tell if both hold one model."""
        return self.model_md5 is not None and self.model_md5 == other.model_md5


def _inside(paths: Iterable[Path]) -> list[Path]:
    """Return the paths without those that lead out of the repository, as DVC allows: git refuses them."""
    return [path for path in paths if not path.is_absolute() and Path(os.path.normpath(path)).parts[:1] != ("..",)]


def working_tree() -> Revision:
    """Return the working tree. Raises `UserError` outside of a repository."""
    git("rev-parse", "--git-dir")
    return Revision("the working tree", None)


def at(name: str) -> Revision:
    """Return the commit that `name` stands for. Raises `UserError` if there is none."""
    try:
        commit = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except UserError:
        raise UserError(f"git knows no commit {name!r}: fetch it, or name another") from None
    return Revision(commit[:9] if commit.startswith(name) else f"{name} ({commit[:9]})", commit)


def merge_base(first: Revision, second: Revision) -> Revision:
    """Return the newest commit that both build on; the working tree builds on HEAD. Raises `UserError` for none."""
    ends = [revision.commit or "HEAD" for revision in (first, second)]
    try:
        commit = git("merge-base", *ends).decode().strip()
    except UserError:
        raise UserError(
            f"{first.name} and {second.name} have no commit in common: git fetch --unshallow, or use --exact"
        ) from None
    return first if commit == first.commit else Revision(f"{commit[:9]}, on which {second.name} builds", commit)


def recipe_of(params: bytes) -> str:
    """Return the name of the recipe in the first line of a `params.yaml`, or ""."""
    match = re.match(rb"# ([\w-]+):", params)
    return match[1].decode() if match else ""


def locks() -> dict[str, str]:
    """Return every `dvc.lock` that git's history holds, on any branch, by commit; the newest first."""
    return {commit: text.decode(errors="replace") for commit, text in versions(LOCK)}


def recorded(lock: str, stage: str, path: Path) -> str | None:
    """Return the md5 that the text of a `dvc.lock` has for a dependency or output of a stage.

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
