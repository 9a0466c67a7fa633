"""A search in MLflow: one parent run for a study, one child run for every trial, in a few calls each.

Only the command that the user started writes here, from what the storage holds, so workers never wait for MLflow. Of
several commands each adds the trials of its own workers; what could not be written is made up for the next time. No run
here has the tag `model_md5`, by which the stages of the pipeline find a training: a search's model is kept nowhere.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import digest
from src.core.git import read_source
from src.core.paths import DATASET
from src.search.plan import Plan, Search
from src.search.results import Result
from src.tracking import identity
from src.tracking.runs import find_runs
from src.tracking.store import Store, explained, upload


class Runs:
    """Raises `UserError` only when it is made: later faults are told once, and the search goes on."""

    def __init__(self, search: Search, store: Store, session: str) -> None:
        self._search, self._store, self._client, self._session = search, store, store.client, session
        self._broken = False
        with explained(self._store.uri):
            self._parent = self._found() or self._created()
            self._client.update_run(self._parent, status="RUNNING")
            self._known = self._children()

    def add(self, plan: Plan, results: Sequence[Result]) -> None:
        """A child run for each of the plan's results that this session's workers finished."""
        self.make_up(plan, [result for result in results if result.session == self._session])

    def make_up(self, plan: Plan, results: Sequence[Result]) -> None:
        """A child run for each of the plan's results that had none when the session began."""
        new = [result for result in results if (plan.name, str(result.number)) not in self._known]
        if not new or self._broken:
            return
        try:
            with explained(self._store.uri):
                for result in new:
                    self._log(plan, result)
                    self._known.add((plan.name, str(result.number)))
        except UserError as fault:
            self._broken = True
            print(f"warning: the next search adds the trials from here on: {fault}", file=sys.stderr, flush=True)

    def end(
        self,
        status: str,
        metrics: Mapping[str, float] | None = None,
        verdict: str = "",
        folder: Path | None = None,
        *extra: Path,
    ) -> None:
        """Closes the parent: FINISHED, FAILED or KILLED. folder: logged under its name, with the extra files in it;
        verdict: what MLflow shows as the run's description."""
        from mlflow.entities import Metric, RunTag

        now = int(1000 * time.time())
        values = [Metric(name, value, now, 0) for name, value in (metrics or {}).items()]
        try:
            with explained(self._store.uri):
                self._client.log_batch(self._parent, values, tags=[RunTag("mlflow.note.content", verdict)])
                if folder is not None:
                    for path in (folder, *extra):
                        upload(self._store, self._parent, path, folder.name)
                self._client.set_terminated(self._parent, status)
        except UserError as fault:
            print(f"warning: the search's MLflow run stays open: {fault}", file=sys.stderr, flush=True)

    def _found(self) -> str | None:
        """The oldest, if several machines once made theirs at the same moment."""
        query = f"tags.`tune.study` = '{self._search.name}' and tags.`tune.part` = 'study'"
        found = find_runs(self._store, query)
        return str(found[-1].info.run_id) if found else None

    def _created(self) -> str:
        from mlflow.entities import Param

        source, params = read_source(), self._search.params
        tags = {
            "tune.study": self._search.name,
            "tune.part": "study",
            "base_commit": source.commit,
            "code_modified": source.modified,
            "data_md5": digest(DATASET),
            **{f"version.{name}": version for name, version in identity.versions().items()},
            "mlflow.source.name": "src/tune.py",
            "mlflow.source.type": "LOCAL",
        }
        name = f"search {self._search.name}"
        run_id = str(self._client.create_run(self._store.experiment_id, tags=tags, run_name=name).info.run_id)
        settings = identity.flatten(params.model_dump(include={"seed", "data", "split", "model", "train"}))
        fixed = {key: without_credentials(value) for key, value in settings.items() if key not in self._search.space}
        asked = {f"tune.{key}": getattr(params.tune, key) for key in ("sampler", "pruner", "objective")}
        space = {f"tune.space.{key}": entry.words() for key, entry in params.tune.space.items()}
        flat = {**fixed, **asked, **space}
        self._client.log_batch(run_id, params=[Param(key, value) for key, value in flat.items()])
        if (first := self._found()) not in (None, run_id):  # another machine was faster
            self._client.delete_run(run_id)
            return str(first)
        return run_id

    def _children(self) -> set[tuple[str, str]]:
        """Study and number of the trials that have a run."""
        children = find_runs(self._store, f"tags.`mlflow.parentRunId` = '{self._parent}'")
        return {(run.data.tags["tune.study"], run.data.tags["tune.point"]) for run in children}

    def _log(self, plan: Plan, result: Result) -> None:
        from mlflow.entities import Metric, Param

        part = "trial" if isinstance(plan, Search) else "confirmation"
        tags = {
            "mlflow.parentRunId": self._parent,
            "mlflow.source.name": "src/tune.py",
            "mlflow.source.type": "LOCAL",
            "tune.study": plan.name,
            "tune.part": part,
            "tune.point": str(result.number),
            "tune.state": result.state,
            "tune.attempts": str(len(result.attempts)),
            **({"tune.reason": result.reason} if result.reason else {}),
            **({"tune.model_md5": result.model_md5} if result.model_md5 else {}),
        }
        begin, end = _milliseconds(result.began), _milliseconds(result.ended)
        run = self._client.create_run(
            self._store.experiment_id, start_time=begin, tags=tags, run_name=f"{part} {result.number}"
        )
        flat: dict[str, Any] = {"seed": result.seed, **result.values}
        params = [Param(key, identity.text(value)) for key, value in flat.items()]
        metrics = [
            Metric(name, float(value), end, step)
            for name, curve in result.curves.items()
            for step, value in enumerate(curve, start=1)
        ]
        if result.value is not None:
            metrics.append(Metric("objective", result.value, end, 0))
        self._client.log_batch(run.info.run_id, metrics=metrics, params=params)
        self._client.set_terminated(run.info.run_id, "FAILED" if result.state == "failed" else "FINISHED", end)


def _milliseconds(moment: datetime) -> int:
    return int(1000 * moment.timestamp())
