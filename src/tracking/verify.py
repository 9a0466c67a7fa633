"""Compare git's models with the store's runs: each model has its run, and no run is left open."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from src.tracking import history
from src.tracking.history import State
from src.tracking.lineage import made
from src.tracking.runs import dead_runs, find_runs
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run


class Found(NamedTuple):
    models: int  # different ones in dvc.lock's history
    unmatched: Sequence[State]  # of those that no run has with their parameters, the oldest dvc.lock
    runs: int
    orphaned: Sequence["Run"]  # their model is in no dvc.lock
    dead: Sequence["Run"]  # RUNNING though their process is gone


def verify(store: Store | None) -> Found:
    """Compare them all; change nothing. Without a store every model is without a run."""
    states = history.states()
    oldest = {state.model_md5: state for state in states}  # newest first: the last one stays
    runs = find_runs(store, everywhere=True) if store else []
    trained = [run for run in runs if "model_md5" in run.data.tags]
    matched = {
        state.model_md5
        for state in states
        for run in trained
        if run.data.tags["model_md5"] == state.model_md5 and made(run, state)
    }
    return Found(
        models=len(oldest),
        unmatched=[state for md5, state in oldest.items() if md5 not in matched],
        runs=len(runs),
        orphaned=[run for run in trained if run.data.tags["model_md5"] not in oldest],
        dead=dead_runs(runs),
    )
