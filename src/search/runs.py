"""Record a search in MLflow: one parent run for a study, one child run for every trial.

If MLflow is in trouble the search goes on: there is one warning, nothing more is written, and the next search adds what
is missing. These runs lack the tag `model_md5`, by which the pipeline finds a model's run: models of a search are not
kept.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from optuna.trial import FrozenTrial

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.git import read_code_state
from src.search.plan import Plan
from src.search.trial_results import result, state
from src.tracking import identity
from src.tracking.runs import NOTE, find_runs
from src.tracking.start import Start, code_tags, dataset_record, log_start, short, source_files
from src.tracking.store import Store, open_store

_SOURCE = {"mlflow.source.name": "src/tune.py", "mlflow.source.type": "LOCAL"}


class Runs:
    """Write the runs of a search, which end with the block. The workers train meanwhile: no training waits."""

    def __init__(self, search: Plan) -> None:
        self._search = search
        self._store: Store | None = None  # opened with the first trial: its import takes seconds
        self._in_trouble = False
        self._parent = ""
        self._known: set[tuple[str, str]] = set()  # study and number of the trials that have a run

    def add(self, plan: Plan, trials: Sequence[FrozenTrial]) -> None:
        """Make a child run for each finished trial that has none."""
        if self._in_trouble or not trials:
            return
        with self._writing():
            store = self._store or self._open()
            for trial in trials:
                if (plan.name, str(trial.number)) not in self._known:
                    _create_child(store, self._parent, plan, trial)
                    self._known.add((plan.name, str(trial.number)))

    def describe(self, verdict: str, folder: Path) -> None:
        """Give the parent run a description and the files of a folder."""
        if self._store:
            with self._writing():
                self._store.client.set_tag(self._parent, NOTE, verdict)
                location = self._store.client.get_run(self._parent).info.artifact_uri
                self._store.artifacts(location).log_artifacts(str(folder), folder.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._store:
            status = "FINISHED" if kind is None else "KILLED" if kind is KeyboardInterrupt else "FAILED"
            with self._writing():
                self._store.client.set_terminated(self._parent, status)

    def _open(self) -> Store:
        self._store = store = open_store()
        found = find_runs(store, f"tags.`tune.study` = '{self._search.name}' and tags.`tune.part` = 'study'")
        self._parent = found[-1].info.run_id if found else _create(store, self._search)
        store.client.update_run(self._parent, status="RUNNING")
        children = find_runs(store, f"tags.`mlflow.parentRunId` = '{self._parent}'")
        self._known = {(run.data.tags["tune.study"], run.data.tags["tune.trial"]) for run in children}
        return store

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except UserError as fault:
            self._store, self._in_trouble = None, True
            print(f"warning: the next search adds the trials to MLflow: {fault}", file=sys.stderr, flush=True)


def _create(store: Store, search: Plan) -> str:
    """Make the parent run; return its id."""
    code, params = read_code_state(), search.params
    settings = identity.flatten(params.model_dump(include=identity.SECTIONS))
    fixed = {key: without_credentials(value) for key, value in settings.items() if key not in search.space}
    asked = {f"tune.{key}": identity.text(getattr(params.tune, key)) for key in ("sampler", "pruner", "objective")}
    space = {f"tune.space.{key}": entry.words() for key, entry in params.tune.space.items()}
    start = Start(
        name=f"search {search.name}",
        params=short(fixed | asked | space),
        tags={**code_tags(code), **_SOURCE, "tune.study": search.name, "tune.part": "study"},
        dataset=dataset_record(settings),
        files=source_files(code),
    )
    run_id = str(store.client.create_run(store.experiment_id, tags=start.tags, run_name=start.name).info.run_id)
    log_start(store, run_id, start)
    return run_id


def _create_child(store: Store, parent: str, plan: Plan, trial: FrozenTrial) -> None:
    """Make the run of a trial."""
    from mlflow.entities import Metric, Param

    client, part = store.client, "confirmation" if plan.settings else "trial"
    found, values = result(trial), {}
    if trial.params.keys() >= plan.space.keys():
        settings, seed = plan.training(trial.params)
        values = {"seed": seed, **settings}
    tags = {
        "mlflow.parentRunId": parent,
        "tune.study": plan.name,
        "tune.part": part,
        "tune.trial": str(trial.number),
        "tune.state": state(trial),
        **({"tune.reason": found["reason"]} if found["reason"] else {}),
        **({"tune.model_md5": found["model_md5"]} if "model_md5" in found else {}),
        **_SOURCE,
    }
    start, end = (int(1000 * moment.timestamp()) for moment in (trial.datetime_start, trial.datetime_complete))  # type: ignore[union-attr]
    metrics = [
        Metric(f"epoch/{name}", float(value), end, step)
        for name, curve in found["history"].items()
        for step, value in enumerate(curve, start=1)
    ]
    if trial.value is not None:
        metrics.append(Metric(plan.objective.key, trial.value, end, 0))
    params = [Param(key, identity.text(value)) for key, value in values.items()]
    run = client.create_run(store.experiment_id, start_time=start, tags=tags, run_name=f"{part} {trial.number}")
    client.log_batch(run.info.run_id, metrics=metrics, params=params)
    client.set_terminated(run.info.run_id, "FAILED" if state(trial) == "failed" else "FINISHED", end)
