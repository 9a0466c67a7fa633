"""What git remembers: every `dvc.lock` that was ever committed, and with it each model, its data and its parameters."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from src.core.addresses import without_credentials
from src.core.dvc import read_lock, read_pipeline
from src.core.git import blobs, git, versions
from src.core.paths import DATASET, LOCK, MODEL, PARAMS, PIPELINE
from src.tracking.identity import flatten

# Those that make the model; only their parameters and code count here.
_STAGES = ("download", "split", "train")


class State(NamedTuple):
    """What one version of `dvc.lock` says."""

    commit: str  # "": the working tree
    model_md5: str
    data_md5: str | None
    parameters: Mapping[str, str]  # of download, split and train, by dotted key, as a run has them


def states(model_md5: str = "") -> list[State]:
    """The working tree's, then the commits' of all branches and experiments, newest first; of one model where asked.

    A commit stands here if it changed `dvc.lock`. Versions without a trained model are left out.
    """
    found = [("", LOCK.read_bytes())] if LOCK.is_file() else []
    if git("rev-parse", "--verify", "--quiet", "HEAD"):
        found += versions(LOCK)
    read = (_state(commit, text) for commit, text in found if model_md5.encode() in text)
    return [state for state in read if state is not None and model_md5 in ("", state.model_md5)]


def state_of(commit: str) -> State | None:
    """That of the `dvc.lock` in a commit; None where it has none, or no model in it."""
    (text,) = contents([commit], LOCK)
    return _state(commit, text) if text else None


def _state(commit: str, text: bytes) -> State | None:
    locked = stages(text)
    written = outputs(locked, _STAGES)
    model = written.get(MODEL.as_posix())
    if model is None:
        return None
    read = (parameters(locked[stage]) for stage in _STAGES if stage in locked)
    flat = {key: without_credentials(value) for stage in read for key, value in stage.items()}
    return State(commit, model, written.get(DATASET.as_posix()), flat)


def parameters(stage: Mapping[str, Any]) -> dict[str, str]:
    """Those of one stage of a `dvc.lock`, as text by dotted key."""
    return flatten(stage.get("params", {}).get(PARAMS.name, {}))


def stages_of(locked: Mapping[str, Any], model_md5: str) -> list[str]:
    """Those of a `dvc.lock` that made this model or ran on it; a stage may have been left as it was for another one."""
    path = MODEL.as_posix()
    lists = {
        name: {entry["path"]: entry.get("md5") for kind in ("deps", "outs") for entry in stage.get(kind, [])}
        for name, stage in locked.items()
    }
    return [name for name, entries in lists.items() if name in _STAGES or entries.get(path) == model_md5]


def outputs(locked: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """MD5 of everything that the named stages of what `stages` gave wrote, by path."""
    written = (output for name in names for output in locked.get(name, {}).get("outs", []))
    return {output["path"]: output["md5"] for output in written if "md5" in output}


@cache
def stages(text: bytes) -> dict[str, Any]:
    """The stages of a `dvc.lock`; none where it is not whole, as amid a merge."""
    try:
        return read_lock(text)
    except ValueError:
        return {}


def differences(run: Mapping[str, str], state: State) -> list[str]:
    """The dotted keys whose values in a run and in a `dvc.lock` are not the same; 1 and 1.0 are."""
    keys = sorted({*run, *state.parameters})
    return [key for key in keys if _value(run.get(key)) != _value(state.parameters.get(key))]


def _value(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return text


def code_digest(commit: str, stage: str) -> str | None:
    """What `identity.code_digest` gives in a checkout of the commit; None where its `dvc.yaml` has no such stage, or
    is not whole."""
    (text,) = contents([commit], PIPELINE)
    try:
        pipeline = read_pipeline(text or b"")
    except ValueError:
        return None
    if stage not in pipeline:
        return None
    listed = git("ls-tree", "-r", "-z", "--name-only", commit, "--", *pipeline[stage].get("deps", []))
    files = sorted(Path(name) for name in listed.split("\0") if name.endswith(".py"))
    texts = blobs([f"{commit}:./{file.as_posix()}" for file in files])
    digests = {file.as_posix(): hashlib.md5(code or b"").hexdigest() for file, code in zip(files, texts, strict=True)}
    return hashlib.md5(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def resolve(revision: str) -> str | None:
    """The commit that git takes `revision` for."""
    return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip() or None


def describe(commit: str) -> str:
    """Short name, day and subject of a commit."""
    return git("show", "-s", "--date=short", "--format=%h %cd %s", commit).strip()


def contents(commits: Iterable[str], path: Path) -> list[bytes | None]:
    """Of a file in each of the commits; None where it is missing."""
    return blobs([f"{commit}:./{path.as_posix()}" for commit in commits])
