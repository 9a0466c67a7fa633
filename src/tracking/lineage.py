"""Trace a model, run or commit back to its data, parameters, code, commit and metrics; tell how to rebuild it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from src.core.addresses import without_credentials
from src.core.documents import keys, read_json
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import METRICS, TRAINING
from src.tracking import history
from src.tracking.history import State
from src.tracking.record import COMMIT, short
from src.tracking.runs import existing_store, registered_run, required_store, run_by_id, runs_of
from src.tracking.store import tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run

_MD5 = re.compile("[0-9a-f]{32}")


class Lineage(NamedTuple):
    """Hold the commits and the runs that have the same model and parameters."""

    model_md5: str | None  # None: a run that trained none
    states: Sequence[State]  # that hold the model, the working tree's first, then commits from new to old
    runs: Sequence["Run"]  # that have the model, newest first

    @property
    def commit(self) -> str | None:
        """Return the oldest commit whose `dvc.lock` holds the model, or the one that was asked for."""
        return next((state.commit for state in reversed(self.states) if state.commit), None)

    @property
    def origin(self) -> "Run | None":
        """Return the newest run whose code is in this clone: it says from which commit it came, and how it differed."""
        tagged = ((run, run.data.tags.get(COMMIT)) for run in self.runs)
        return next((run for run, commit in tagged if commit and history.resolve(commit)), None)


def trace(name: str) -> Lineage:
    """Trace a model's file, its MD5, `models:/NAME@ALIAS`, a run's id, a commit, or the name of a DVC experiment.

    Raises `UserError` where it is none of these.
    """
    store = existing_store()
    run: Run | None = None
    state: State | None = None
    md5: str | None = None
    if Path(name).is_file():
        md5 = digest(Path(name))
    elif name.startswith("models:/"):
        run = registered_run(required_store(), name)
    elif _MD5.fullmatch(name):
        md5, run = name, run_by_id(store, name)
    else:
        commit = history.resolve(name)
        if commit is None:
            raise UserError(
                f"{name} is not a file, a model's MD5, a run's id, models:/NAME@ALIAS, a commit or experiment"
            )
        state = history.state_of(commit)
        if state is None:
            raise UserError(f"{name} has no trained model: its dvc.lock lists none")
        md5 = state.model_md5
    if run is not None:
        md5 = run.data.tags.get("model_md5")
    if md5 is None:  # the run trained none
        return Lineage(None, [], [run] if run else [])

    states, runs = list(history.states(md5)), runs_of(store, md5)
    if state is not None:  # the commit that was asked for comes last, where `Lineage.commit` looks first
        states = [*(each for each in states if each.commit != state.commit), state]
    if run is not None:
        runs = [run, *(each for each in runs if each.info.run_id != run.info.run_id)]
    if not states and not runs:
        raise UserError(f"{name} is neither a run's id nor a model that dvc.lock's history or a run holds")
    # Equal models may come of different parameters; those of the run or commit that was asked for count.
    wanted = runs[0].data.params if run is not None or not states else short((state or states[0]).parameters)
    return Lineage(
        md5,
        [each for each in states if not history.differences(short(each.parameters), wanted)],
        [each for each in runs if not history.differences(each.data.params, wanted)],
    )


def lines(lineage: Lineage) -> Iterator[tuple[str, str]]:
    """Yield the lines to show, each with its label; an item of several lines repeats its label."""
    run = next(iter(lineage.runs), None)
    state = next(reversed(lineage.states), None)
    tags: Mapping[str, str] = run.data.tags if run else {}
    yield "model", lineage.model_md5 or "none: the run trained no model"
    logged = run.inputs.dataset_inputs if run and run.inputs else []
    yield "data", (state.data_md5 if state else None) or (logged[0].dataset.digest if logged else "unknown")
    if lineage.commit is not None:
        others = sum(bool(each.commit) for each in lineage.states) - 1
        yield "commit", history.describe(lineage.commit) + (f" (and {others} more)" if others else "")
    elif lineage.states:
        yield "commit", "not yet: dvc.lock of the working tree holds it"
    else:
        yield "commit", "none: no dvc.lock holds this model with these parameters"
    for each in lineage.runs:
        yield "run", f"{each.info.run_name} ({each.info.run_id}) {each.info.status}"
    if run is None:
        yield "run", f"none at {without_credentials(tracking_uri())}: python -m src.track sync makes one"
    elif commit := tags.get(COMMIT):
        yield "code", f"{commit[:7]}, {tags.get('code')}"
    yield from (("metrics", text) for text in _metrics(lineage.commit, run))
    parameters = state.parameters if state else (run.data.params if run else {})
    yield from (("parameters", f"{key}: {parameters[key]}") for key in sorted(parameters))
    if lineage.commit is not None:
        yield "rebuild", f"python -m src.track rebuild {lineage.commit[:12]}"
    elif (origin := lineage.origin) is not None:
        yield "rebuild", f"python -m src.track rebuild {origin.info.run_id}"
    else:
        yield "rebuild", "cannot be: no commit of this clone has the code, unless git fetch brings it"


def _metrics(commit: str | None, run: "Run | None") -> Iterator[str]:
    """Yield the metrics of the commit, or without a commit those of the run; leave out intervals and curves."""
    found: dict[str, float] = {}
    if commit is None:
        found = dict(run.data.metrics) if run is not None else {}
    else:
        for path, prefix in ((TRAINING, ""), (METRICS, "test/")):
            (content,) = history.contents([commit], path)
            try:
                numbers = keys(read_json(content or b"{}"))
            except ValueError as error:
                yield f"{path} of the commit cannot be read: {error}"
                continue
            found |= {f"{prefix}{key}": value for key, value in numbers.items() if isinstance(value, int | float)}
    hidden = re.compile("_ci_|^epoch/|^system/")
    yield from (f"{name} {value:g}" for name, value in sorted(found.items()) if not hidden.search(name))
