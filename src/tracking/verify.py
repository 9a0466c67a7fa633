"""Whether git's models and the store's runs belong together: each model has its run, each run a model and a commit."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from src.tracking import history
from src.tracking.dead import dead_runs
from src.tracking.history import State, differences
from src.tracking.runs import find_runs
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

_NAMED = 5  # parameters that are named where they differ


class Unmatched(NamedTuple):
    """A model in `dvc.lock`'s history without a run that has its data and parameters."""

    state: State  # the oldest that holds the model
    reason: str


class Found(NamedTuple):
    models: int  # different ones in dvc.lock's history
    unmatched: Sequence[Unmatched]
    runs: int
    dead: Sequence["Run"]  # RUNNING though their process is gone
    orphaned: Sequence["Run"]  # their model is in no dvc.lock
    modified: Sequence["Run"]  # from code that differs from its commit, and that no commit with the model has


def verify(store: Store | None) -> Found:
    """Compares them all; changes nothing. Without a store every model is without a run."""
    by_model: dict[str, list[State]] = {}
    for state in history.states():
        by_model.setdefault(state.model_md5, []).append(state)
    runs = find_runs(store) if store else []
    trained: dict[str, list[Run]] = {}
    for run in runs:
        if md5 := run.data.tags.get("model_md5"):
            trained.setdefault(md5, []).append(run)
    return Found(
        models=len(by_model),
        unmatched=list(_unmatched(by_model, trained)),
        runs=len(runs),
        dead=dead_runs(runs),
        orphaned=[run for md5, found in trained.items() if md5 not in by_model for run in found],
        modified=[
            run
            for md5, found in trained.items()
            for run in found
            if run.data.tags.get("code_modified") == "true" and not _committed_later(run, by_model.get(md5, []))
        ],
    )


def _unmatched(by_model: dict[str, list[State]], trained: dict[str, list["Run"]]) -> Iterator[Unmatched]:
    for md5, states in by_model.items():
        reasons = {_mismatch(run, state) for state in states for run in trained.get(md5, [])}
        if None not in reasons:
            oldest = min(filter(None, reasons), key=len, default="no run")
            yield Unmatched(states[-1], oldest)


def _mismatch(run: "Run", state: State) -> str | None:
    """Why the run is not that of this version of `dvc.lock`; None if it is."""
    name = f"its run {run.info.run_id}"
    if not run.data.params:
        return f"{name} has no parameters: it was made by a later stage"
    if run.data.tags.get("data_md5") != state.data_md5:
        return f"{name} has other data: {run.data.tags.get('data_md5')}"
    keys = differences(run.data.params, state)
    if keys:
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        return f"{name} has other parameters: {', '.join(keys[:_NAMED])}{more}"
    return None


def _committed_later(run: "Run", states: Sequence[State]) -> bool:
    """Whether the code that ran is that of a commit whose `dvc.lock` holds the model: people run first."""
    return any(run.data.tags.get("code_digest") == _code(state.commit) for state in states if state.commit)


@cache
def _code(commit: str) -> str | None:
    return history.code_digest(commit, "train")
