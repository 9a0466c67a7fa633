"""Ask git for every `dvc.lock` that was committed, and with it for each model, its data and its parameters."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from src.core.addresses import without_credentials
from src.core.dvc import read_lock
from src.core.git import blobs, git, versions
from src.core.paths import DATASET, LOCK, MODEL, PARAMS
from src.tracking.identity import flatten

# Those that make the model; only their parameters and code count here.
STAGES = ("download", "split", "train")


class State(NamedTuple):
    """Hold what one version of `dvc.lock` says."""

    commit: str  # "": the working tree
    model_md5: str
    data_md5: str | None
    parameters: Mapping[str, str]  # of download, split and train, by dotted key, as a run has them


def states(model_md5: str = "") -> list[State]:
    """Return the `dvc.lock` of the working tree, then those of all branches' and tags' commits, newest first.

    With `model_md5`, only those that hold that model. A commit counts if it changed `dvc.lock`. Versions without a
    trained model are left out.
    """
    found = [("", LOCK.read_bytes())] if LOCK.is_file() else []
    if git("rev-parse", "--verify", "--quiet", "HEAD"):
        found += versions(LOCK)
    read = (_state(commit, text) for commit, text in found if model_md5.encode() in text)
    return [state for state in read if state is not None and model_md5 in ("", state.model_md5)]


def state_of(commit: str) -> State | None:
    """Return that of the `dvc.lock` in a commit; None where it has none, or no model in it."""
    (text,) = contents([commit], LOCK)
    return _state(commit, text) if text else None


def _state(commit: str, text: bytes) -> State | None:
    locked = stages(text)
    written = outputs(locked, STAGES)
    model = written.get(MODEL.as_posix())
    if model is None:
        return None
    read = (parameters(locked[stage]) for stage in STAGES if stage in locked)
    flat = {key: value for stage in read for key, value in stage.items()}
    return State(commit, model, written.get(DATASET.as_posix()), flat)


def parameters(stage: Mapping[str, Any]) -> dict[str, str]:
    """Return those of one stage of a `dvc.lock`, as text by dotted key, without credentials."""
    flat = flatten(stage.get("params", {}).get(PARAMS.name, {}))
    return {key: without_credentials(value) for key, value in flat.items()}


def stages_of(locked: Mapping[str, Any], model_md5: str) -> list[str]:
    """Return the stages that made this model or read it: a stage may be older, and belong to another model."""
    path = MODEL.as_posix()
    lists = {
        name: {entry["path"]: entry.get("md5") for kind in ("deps", "outs") for entry in stage.get(kind, [])}
        for name, stage in locked.items()
    }
    return [name for name, entries in lists.items() if name in STAGES or entries.get(path) == model_md5]


def outputs(locked: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Return the MD5 of everything that the named stages of what `stages` gave wrote, by path."""
    written = (output for name in names for output in locked.get(name, {}).get("outs", []))
    return {output["path"]: output["md5"] for output in written if "md5" in output}


@cache
def stages(text: bytes) -> dict[str, Any]:
    """Return the stages of a `dvc.lock`; none where it is not whole, as amid a merge."""
    try:
        return read_lock(text)
    except ValueError:
        return {}


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the dotted keys whose values are not the same in both; 1 and 1.0 are."""
    return [key for key in sorted({*one, *other}) if _value(one.get(key)) != _value(other.get(key))]


def _value(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return text


def resolve(revision: str) -> str | None:
    """Return the commit that git takes `revision` for, or that of DVC's experiment of this name."""
    names = [revision, *git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{revision}").split()]
    found = (git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}") for name in names)
    return next((commit.strip() for commit in found if commit.strip()), None)


def describe(commit: str) -> str:
    """Return short name, day and subject of a commit."""
    return git("show", "-s", "--date=short", "--format=%h %cd %s", commit).strip()


def contents(commits: Iterable[str], path: Path) -> list[bytes | None]:
    """Return those of a file in each of the commits; None where it is missing."""
    return blobs([f"{commit}:./{path.as_posix()}" for commit in commits])
