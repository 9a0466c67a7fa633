"""A search in MLflow: one parent run for a study, one child run for every trial.

A thread writes them, so that no training waits for MLflow. A fault is a warning and ends the writing: the next search
adds what is missing. No run here has the tag `model_md5`, by which the stages of the pipeline find a training: a
search's model is kept nowhere.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue

from optuna.trial import FrozenTrial

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.git import read_source
from src.search.plan import Confirmation, Plan
from src.search.results import result, state
from src.tracking import identity, record
from src.tracking.runs import begin, find_runs
from src.tracking.store import Store, explained, open_store, upload

_SOURCE = {"mlflow.source.name": "src/tune.py", "mlflow.source.type": "LOCAL"}


class Runs:
    """The runs of a search. `end` waits for all that was written."""

    def __init__(self, search: Plan) -> None:
        self._search = search
        self._store: Store
        self._parent = ""
        self._known: set[tuple[str, str]] = set()  # study and number of the trials that have a run
        self._bug: Exception | None = None
        self._writes: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="mlflow", daemon=True)
        self._thread.start()
        self._writes.put(self._open)

    def add(self, plan: Plan, trials: Sequence[FrozenTrial]) -> None:
        """Make a child run for each finished trial of a plan that has none."""
        self._writes.put(lambda: self._add(plan, trials))

    def end(
        self,
        status: str,
        metrics: Mapping[str, float],
        verdict: str,
        folder: Path | None,
        patience: float | None = None,
    ) -> None:
        """Close the parent: FINISHED, FAILED or KILLED. verdict: its description; folder: logged under its name.

        patience: seconds to wait for MLflow at most; None for as long as it takes.
        """
        self._writes.put(lambda: self._end(status, metrics, verdict, folder))
        self._writes.put(None)
        self._thread.join(patience)
        if self._bug is not None:
            raise self._bug

    def _write(self) -> None:
        try:
            for write in iter(self._writes.get, None):
                write()
        except (UserError, OSError) as fault:
            print(f"warning: the next search adds the trials to MLflow: {fault}", file=sys.stderr, flush=True)
        except Exception as bug:
            self._bug = bug

    def _open(self) -> None:
        self._store = open_store()
        with explained(self._store.uri):
            query = f"tags.`tune.study` = '{self._search.name}' and tags.`tune.part` = 'study'"
            found = find_runs(self._store, query)
            self._parent = found[-1].info.run_id if found else self._create()
            self._store.client.update_run(self._parent, status="RUNNING")
        children = find_runs(self._store, f"tags.`mlflow.parentRunId` = '{self._parent}'")
        self._known |= {(run.data.tags["tune.study"], run.data.tags["tune.trial"]) for run in children}

    def _create(self) -> str:
        source, params = read_source(), self._search.params
        tags = {"tune.study": self._search.name, "tune.part": "study", **record.source_tags(source), **_SOURCE}
        name = f"search {self._search.name}"
        run_id = str(self._store.client.create_run(self._store.experiment_id, tags=tags, run_name=name).info.run_id)
        settings = identity.flatten(params.model_dump(include={"seed", "data", "split", "model", "train"}))
        fixed = {key: without_credentials(value) for key, value in settings.items() if key not in self._search.space}
        asked = {f"tune.{key}": identity.text(getattr(params.tune, key)) for key in ("sampler", "pruner", "objective")}
        space = {f"tune.space.{key}": entry.words() for key, entry in params.tune.space.items()}
        every = record.short(fixed | asked | space)
        begin(self._store, run_id, every, record.dataset_record(settings), record.origin(source))
        return run_id

    def _add(self, plan: Plan, trials: Sequence[FrozenTrial]) -> None:
        from mlflow.entities import Metric, Param

        client, part = self._store.client, "confirmation" if isinstance(plan, Confirmation) else "trial"
        for trial in trials:
            if (plan.name, str(trial.number)) in self._known:
                continue
            found, values = result(trial), {}
            if trial.params.keys() >= plan.space.keys():
                settings, seed = plan.training(trial.params)
                values = {"seed": seed, **settings}
            tags = {
                "mlflow.parentRunId": self._parent,
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
            for objective, number in zip(plan.objectives, trial.values or (), strict=False):
                metrics.append(Metric(objective.key, number, end, 0))
            params = [Param(key, identity.text(value)) for key, value in values.items()]
            with explained(self._store.uri):
                run = client.create_run(
                    self._store.experiment_id, start_time=start, tags=tags, run_name=f"{part} {trial.number}"
                )
                client.log_batch(run.info.run_id, metrics=metrics, params=params)
                client.set_terminated(run.info.run_id, "FAILED" if state(trial) == "failed" else "FINISHED", end)
            self._known.add((plan.name, str(trial.number)))

    def _end(self, status: str, metrics: Mapping[str, float], verdict: str, folder: Path | None) -> None:
        from mlflow.entities import Metric, RunTag

        client, now = self._store.client, int(1000 * time.time())
        values = [Metric(name, value, now, 0) for name, value in metrics.items()]
        with explained(self._store.uri):
            client.log_batch(self._parent, values, tags=[RunTag("mlflow.note.content", verdict)])
            if folder is not None:
                upload(self._store, self._parent, folder, folder.name)
            client.set_terminated(self._parent, status)
