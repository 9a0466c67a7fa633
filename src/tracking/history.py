"""Ask git for every committed `dvc.lock`: it tells of each model its data and its parameters."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from src.core.addresses import without_credentials
from src.core.dvc import read_lock
from src.core.git import blobs, git, versions
from src.core.paths import DATASET, LOCK, MODEL, PARAMS
from src.tracking.identity import flatten

# The stages that make the model; only their parameters and code count here.
STAGES = ("download", "split", "train")


class State(NamedTuple):
    """Hold the model of one version of `dvc.lock`, with its data and parameters."""

    commit: str  # "": the working tree
    model_md5: str
    data_md5: str | None
    parameters: Mapping[str, str]  # of download, split and train, by dotted key, as a run has them


def states(model_md5: str) -> Iterator[State]:
    """Yield the states that hold this model: of the working tree, then of commits of all branches and tags.

    Of commits, which come newest first, those count that changed `dvc.lock`. To read one takes 50 ms.
    """
    found = [("", LOCK.read_bytes())] if LOCK.is_file() else []
    read = (state_in(text, commit) for commit, text in found + versions(LOCK) if model_md5.encode() in text)
    yield from (state for state in read if state is not None and state.model_md5 == model_md5)


def state_in(text: bytes, commit: str = "") -> State | None:
    """Return the state that a `dvc.lock` holds; None where it lists no trained model."""
    locked = stages(text)
    written = outputs(locked, STAGES)
    model = written.get(MODEL.as_posix())
    if model is None:
        return None
    read = (flatten(locked[stage].get("params", {}).get(PARAMS.name, {})) for stage in STAGES if stage in locked)
    flat = {key: without_credentials(value) for stage in read for key, value in stage.items()}
    return State(commit, model, written.get(DATASET.as_posix()), flat)


def stages_of(locked: Mapping[str, Any], model_md5: str) -> list[str]:
    """Return the stages that made or read this model; others are older, and belong to another model."""
    path = MODEL.as_posix()
    lists = {
        name: {entry["path"]: entry.get("md5") for kind in ("deps", "outs") for entry in stage.get(kind, [])}
        for name, stage in locked.items()
    }
    return [name for name, entries in lists.items() if name in STAGES or entries.get(path) == model_md5]


def outputs(locked: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Return the MD5 of every output of the named stages, by path. locked: as `stages` returns it."""
    written = (output for name in names for output in locked.get(name, {}).get("outs", []))
    return {output["path"]: output["md5"] for output in written if "md5" in output}


@cache
def stages(text: bytes) -> dict[str, Any]:
    """Return the stages of a `dvc.lock`; none where it is damaged, as during a merge."""
    try:
        return read_lock(text)
    except ValueError:
        return {}


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the dotted keys whose values differ; 1 and 1.0 are equal."""
    return [key for key in sorted({*one, *other}) if _value(one.get(key)) != _value(other.get(key))]


def _value(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return text


def resolve(revision: str) -> str | None:
    """Return the commit that `revision` means to git, or the one of DVC's experiment with this name."""
    names = [revision, *git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{revision}").split()]
    found = (git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}") for name in names)
    return next((commit.strip() for commit in found if commit.strip()), None)


def describe(commit: str) -> str:
    """Return the short hash, day and subject of a commit."""
    return git("show", "-s", "--date=short", "--format=%h %cd %s", commit).strip()


def content(commit: str, path: Path) -> bytes | None:
    """Return the content of a file in a commit; None where it is missing."""
    return blobs([f"{commit}:./{path.as_posix()}"])[0]
