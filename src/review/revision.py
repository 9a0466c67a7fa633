"""Read the files that git tracks, at a commit or in the working tree: no data, DVC remote or network is needed."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas

from src.core.documents import keys, read_json, read_yaml
from src.core.dvc import read_lock, read_pipeline
from src.core.errors import UserError
from src.core.git import blobs, checked_git, diagnosis
from src.core.paths import LOCK, MEASURED, METRICS, MODEL, PARAMS, PIPELINE, TRAINING
from src.evaluation import tables

Parsed = TypeVar("Parsed")
_NUMBERS = {"index", "label_probability", "epoch", "value", "validation_accuracy", "test_accuracy"}  # columns of tables


@dataclass(frozen=True)
class Revision:
    """Read files at a commit, or as they are now; in the working tree also those that git does not track yet.

    A damaged file is a `UserError`.
    """

    name: str
    commit: str | None  # None: the working tree

    def listed(self, paths: Iterable[Path]) -> list[Path]:
        """List the files at or below the paths that exist and that git does not ignore."""
        paths = _inside(paths)
        names = [f":(literal){path.as_posix()}" for path in paths]
        if not names:
            return []
        if self.commit is None:
            output = checked_git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *names)
            return sorted({path for path in map(Path, texts(output)) if path.is_file()})
        plain = [path.as_posix() for path in paths]  # ls-tree takes no others
        output = checked_git("ls-tree", "-r", "-z", "--name-only", self.commit, "--", *plain)
        return sorted(map(Path, texts(output)))

    def read(self, paths: Iterable[Path]) -> dict[Path, bytes]:
        """Return the contents of those files that exist."""
        paths = _inside(paths)
        if self.commit is None:
            return {path: path.read_bytes() for path in paths if path.is_file()}
        contents = blobs([f"{self.commit}:./{path.as_posix()}" for path in paths])
        return {path: content for path, content in zip(paths, contents, strict=True) if content is not None}

    def _parsed(self, path: Path, parse: Callable[[bytes], Parsed], missing: Parsed, fault: str, remedy: str) -> Parsed:
        """Parse a file; return `missing` if it does not exist. Raises `UserError` if it is damaged."""
        content = self.read([path]).get(path)
        if content is None:
            return missing
        try:
            return parse(content)
        except ValueError as error:
            raise self.damaged(path, *diagnosis(content, f"{fault} ({error})", remedy)) from None

    def json(self, path: Path) -> dict[str, Any]:
        """Return the keys and values of a file, none if it is missing."""
        return self._parsed(path, lambda text: keys(read_json(text)), {}, "is not a JSON object", "run dvc repro")

    def table(self, path: Path, *columns: str) -> pandas.DataFrame | None:
        """Return a table that has these columns, None if the file is missing."""

        def parse(text: bytes) -> pandas.DataFrame:
            table = tables.parse(text, *columns)
            for column in columns if len(table) else ():
                if column in _NUMBERS and not pandas.api.types.is_numeric_dtype(table[column]):
                    raise ValueError(f"its column {column} holds more than numbers")
            return table

        return self._parsed(path, parse, None, "is damaged", "run dvc repro")

    def damaged(self, path: Path, reason: str, remedy: str) -> UserError:
        """Return the error of a damaged file."""
        return UserError(f"{path} of {self.name} {reason}: {remedy}")

    def text(self, path: Path) -> str:
        """Return a file's text, "" if it is missing."""
        return self.read([path]).get(path, b"").decode("utf-8", errors="replace")

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
        """Return the numbers of training, and those of test with `test_` before their names."""
        training, metrics = self.json(TRAINING), self.json(METRICS)
        if (measured := self.table(MEASURED, "metric", "value")) is not None:
            metrics = dict(zip(measured["metric"], measured["value"].tolist(), strict=True)) | metrics
        return training | {f"test_{key}": value for key, value in metrics.items()}

    def output(self, path: Path) -> Mapping[str, Any]:
        """Return what `dvc.lock` records of an output: its md5, its size; nothing if it has no such output."""
        for stage in self.lock.values():
            for entry in stage.get("outs", []):
                if entry["path"] == path.as_posix():
                    return dict(entry)
        return {}

    @property
    def model_md5(self) -> str | None:
        """Return the MD5 of the model in `dvc.lock`, which is its identity."""
        return self.output(MODEL).get("md5")

    def has_model_of(self, other: "Revision") -> bool:
        """Tell if both revisions hold the same model."""
        return self.model_md5 is not None and self.model_md5 == other.model_md5


def _inside(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that lie in the repository. DVC allows others, which git refuses."""
    return [path for path in paths if not path.is_absolute() and Path(os.path.normpath(path)).parts[:1] != ("..",)]


def working_tree() -> Revision:
    """Return the working tree. Raises `UserError` outside of a repository."""
    checked_git("rev-parse", "--git-dir")
    return Revision("the working tree", None)


def at(name: str) -> Revision:
    """Return the commit that `name` stands for. Raises `UserError` if there is none."""
    try:
        commit = checked_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except UserError:
        raise UserError(f"git knows no commit {name!r}: fetch it, or name another") from None
    return Revision(commit[:9] if commit.startswith(name) else f"{name} ({commit[:9]})", commit)


def merge_base(first: Revision, second: Revision) -> Revision:
    """Return the newest commit that both build on. Raises `UserError` if there is none."""
    ends = [revision.commit or "HEAD" for revision in (first, second)]
    try:
        commit = checked_git("merge-base", *ends).decode().strip()
    except UserError:
        raise UserError(
            f"{first.name} and {second.name} have no commit in common: git fetch --unshallow, or use --exact"
        ) from None
    return first if commit == first.commit else Revision(f"{commit[:9]}, the merge base", commit)


def texts(output: bytes) -> list[str]:
    """Split what git prints with `-z`."""
    return [name for name in output.decode("utf-8", errors="surrogateescape").split("\0") if name]
