"""Trace a model, run or commit back to its data, parameters, code, commit and metrics; tell how to rebuild it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from src.core.addresses import without_credentials
from src.core.documents import keys, read_json
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import DEFAULTS, LOCK, METRICS, MODEL, TRAINING
from src.core.words import counted
from src.params.writing import defaults
from src.tracking import history, identity
from src.tracking.history import State
from src.tracking.runs import registered_run, run_by_id, runs_of
from src.tracking.start import COMMIT, short
from src.tracking.store import existing_store, required_store, tracking_uri

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


class RebuildSource(NamedTuple):
    commit: str
    run_id: str | None  # of the run whose params.yaml and code.diff are applied to the commit
    stages: Sequence[str]
    expected: Mapping[str, str]  # MD5 by path


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
    elif commit := history.resolve(name):
        state = history.state_in(history.content(commit, LOCK) or b"", commit)
        if state is None:
            raise UserError(f"{name} has no trained model: its dvc.lock lists none")
        md5 = state.model_md5
    elif name.endswith(MODEL.suffix):
        raise UserError(f"{name} is missing: run dvc pull, or dvc repro")
    else:
        raise UserError(f"{name} is not a file, a model's MD5, a run's id, models:/NAME@ALIAS, a commit or experiment")
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
    # Equal models may come of different parameters and data; those of the run or commit that was asked for count.
    if run is None and states:
        asked = state or states[0]
        wanted, data = short(asked.parameters), asked.data_md5 or ""
    else:
        wanted, data = runs[0].data.params, _data_of(runs[0])

    def same(parameters: Mapping[str, str]) -> bool:
        return not history.differences(parameters, wanted)

    states = [each for each in states if same(short(each.parameters)) and (each.data_md5 or "").startswith(data)]
    return Lineage(md5, states, [each for each in runs if same(each.data.params)])


def _data_of(run: "Run | None") -> str:
    """Return the first digits of the MD5 of the data set that a run has logged, empty without one."""
    logged = run.inputs.dataset_inputs if run and run.inputs else []
    return logged[0].dataset.digest if logged else ""


def rebuild_source(lineage: Lineage) -> RebuildSource:
    """Return where to begin. Raises `UserError` if neither a commit nor a run says from which code the model came."""
    if lineage.model_md5 is None:
        raise UserError("the run trained no model: there is nothing to rebuild")
    if lineage.commit is not None:
        locked = history.stages(history.content(lineage.commit, LOCK) or b"")
        # A later stage may not have run for this model yet; its results are those of another model.
        own = history.stages_of(locked, lineage.model_md5)
        stages = [stage for stage in ("split", "train", "evaluate") if stage in own]
        return RebuildSource(lineage.commit, None, stages, history.outputs(locked, stages))
    for run in lineage.runs:  # the newest whose code is in this clone says from which commit it came
        if (commit := run.data.tags.get(COMMIT)) and history.resolve(commit):
            return RebuildSource(commit, run.info.run_id, ("split", "train"), {MODEL.as_posix(): lineage.model_md5})
    raise UserError("it cannot be rebuilt: no commit of this clone holds the model, or the code of its runs: git fetch")


def lines(lineage: Lineage) -> Iterator[tuple[str, str]]:
    """Yield the lines to show, each with its label; an item of several lines repeats its label."""
    run = next(iter(lineage.runs), None)
    state = next(reversed(lineage.states), None)
    tags: Mapping[str, str] = run.data.tags if run else {}
    yield "model", lineage.model_md5 or "none: the run trained no model"
    yield "data", (state.data_md5 if state else None) or _data_of(run) or "unknown"
    if lineage.commit is not None:
        others = sum(bool(each.commit) for each in lineage.states) - 1
        yield "commit", history.describe(lineage.commit) + (f" (and {others} more)" if others else "")
    elif lineage.states:
        yield "commit", "not yet: dvc.lock of the working tree holds it"
    else:
        yield "commit", "none: no branch's or tag's dvc.lock holds this model with these parameters"
    for each in lineage.runs:
        yield "run", f"{each.info.run_name} ({each.info.run_id}) {each.info.status}"
    if run is None:
        yield "run", f"none at {without_credentials(tracking_uri())}: python -m src.track sync makes one"
    elif commit := tags.get(COMMIT):
        yield "code", f"{commit[:7]}, {tags.get('code')}"
    yield from (("metrics", text) for text in _metrics(lineage.commit, run))
    parameters = state.parameters if state else (run.data.params if run else {})
    usual = identity.parameters(defaults())
    differing = [key for key in sorted(parameters) if usual.get(key) != parameters[key]]
    yield "parameters", f"{counted(len(differing), 'value')} unlike {DEFAULTS}"
    yield from (("parameters", f"{key}: {parameters[key]}") for key in differing)
    try:
        source = rebuild_source(lineage)
        yield "rebuild", f"python -m src.track rebuild {source.run_id or source.commit[:12]}"
    except UserError as error:
        yield "rebuild", str(error)


def _metrics(commit: str | None, run: "Run | None") -> Iterator[str]:
    """Yield the metrics of the commit, or without a commit those of the run; leave out intervals and curves."""
    if commit is None:
        found = dict(run.data.metrics) if run is not None else {}
    else:
        found = {}
        for path, prefix in ((TRAINING, ""), (METRICS, "test/")):
            try:
                numbers = keys(read_json(history.content(commit, path) or b"{}"))
            except ValueError as error:
                yield f"{path} of the commit cannot be read: {error}"
                continue
            found |= {f"{prefix}{key}": value for key, value in numbers.items() if isinstance(value, int | float)}
    hidden = re.compile("_ci_|^epoch/|^system/")
    yield from (f"{name} {value:g}" for name, value in sorted(found.items()) if not hidden.search(name))
