"""Letters brought to MLflow, entry by entry. Every step can be repeated: an answer may be lost after it took effect."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from src.core.errors import UserError
from src.tracking.dead import close_dead
from src.tracking.earlier import copy_reports, earlier_results
from src.tracking.outbox import Entry, Letter
from src.tracking.store import Refused, Store, explained, placing

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Param

SESSION = "training.session"  # the tag by which a run is found whose creation was not confirmed, or that goes on


class Delivery:
    """One letter on its way. Methods raise `UserError` where the store is in trouble, `Refused` where it says no."""

    def __init__(self, store: Store, letter: Letter, warn: Callable[[str], None]) -> None:
        self.store, self.letter, self._warn = store, letter, warn
        self._steps: set[int] | None = None  # epochs that the run has; None: not asked yet

    def deliver(self) -> None:
        """Sends all that is not sent yet. A refused entry is told and left out; a refused beginning is raised."""
        while (unsent := self.letter.unsent) and not self.letter.closed:
            try:
                self._send(unsent[0])
            except Refused as refused:
                if not self.letter.sent.entries:
                    raise
                self._warn(f"{refused}: left out of the run {self.letter.name}")
            self.letter.advance()

    def _send(self, entry: Entry) -> None:
        client, run_id = self.store.client, self.letter.sent.run_id
        match entry["what"]:
            case "begin":
                self._begin(entry)
            case "attach":
                self._attach(entry)
            case "epoch":
                self._epoch(entry)
            case "metrics":
                self._log(entry["metrics"], 0, {}, entry["time"])
            case "tags":
                self._log({}, 0, entry["tags"], entry["time"])
            case "parameters":
                with explained(self.store.uri):
                    client.log_batch(run_id, params=_params(entry))
            case "attached":
                self._log({}, 0, {**entry["tags"], f"{entry['stage']}.run": run_id}, entry["time"])
            case "artifact":
                with explained(self.store.uri), placing(self.store.uri):
                    (path,) = (self.letter.folder / entry["copy"]).iterdir()
                    client.log_artifact(run_id, str(path), entry["folder"])
            case "model":
                from src.tracking.model import send_model

                with explained(self.store.uri):
                    folder = self.letter.folder / entry["copy"] / "model"
                    self.letter.sent.model_id = send_model(self.store, run_id, folder)
            case "carry_over":
                self._carry_over(entry["time"])
            case "end":
                if self.letter.sent.created:
                    with explained(self.store.uri):
                        client.set_terminated(run_id, entry["status"], entry["time"])
            case unknown:
                raise ValueError(f"{self.letter.folder} has an entry {unknown!r}")

    def _begin(self, entry: Entry) -> None:
        """A new run, or the one that goes on; then those are closed whose process is gone."""
        run_id = self._created(entry)
        client = self.store.client
        try:
            with explained(self.store.uri):
                client.log_batch(run_id, params=_params(entry))
                client.log_inputs(run_id, [_dataset_input(entry["dataset"])])
                with placing(self.store.uri):
                    client.log_artifacts(run_id, str(self.letter.folder / entry["copy"]))
        except Refused:
            with explained(self.store.uri):
                client.set_terminated(run_id, "FAILED")
            raise
        close_dead(self.store, spared=run_id)

    def _attach(self, entry: Entry) -> None:
        """The newest run that trained the model; without one, a new run."""
        with explained(self.store.uri):
            found = self.store.client.search_runs(
                [self.store.experiment_id],
                f"tags.model_md5 = '{entry['model_md5']}'",
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
        if not found:
            self._created(entry)
            return
        models = found[0].outputs.model_outputs if found[0].outputs else []
        self.letter.sent.run_id = found[0].info.run_id
        self.letter.sent.model_id = models[-1].model_id if models else ""

    def _created(self, entry: Entry) -> str:
        client = self.store.client
        with explained(self.store.uri):
            query = f"tags.`{SESSION}` = '{entry['tags'][SESSION]}'"
            found = client.search_runs([self.store.experiment_id], query, max_results=1)
            if found:
                run_id = str(found[0].info.run_id)
                client.update_run(run_id, status="RUNNING")
                self.letter.sent.run_id = run_id
                self._log({}, 0, entry["tags"], entry["time"])
            else:
                start, name = entry["time"], entry["name"]
                run = client.create_run(self.store.experiment_id, start_time=start, tags=entry["tags"], run_name=name)
                run_id = str(run.info.run_id)
                self._steps = set()
        self.letter.sent.run_id, self.letter.sent.created = run_id, True
        return run_id

    def _epoch(self, entry: Entry) -> None:
        """Once: a training that goes on tells again of the epochs before, since it does not know what was sent."""
        if self._steps is None:
            with explained(self.store.uri):
                curve = self.store.client.get_metric_history(self.letter.sent.run_id, next(iter(entry["metrics"])))
            self._steps = {point.step for point in curve}
        if entry["step"] not in self._steps:
            self._log(entry["metrics"], entry["step"], {}, entry["time"])
            self._steps.add(entry["step"])

    def _carry_over(self, moment: int) -> None:
        """Takes over what an earlier run has of the same model, without one nothing: `src.tracking.earlier`.

        Tags come first: if a copy fails, they already name the run that has the files.
        """
        if found := earlier_results(self.store, self.letter.sent.run_id):
            self._log(found.metrics, 0, found.tags, moment)
            try:
                copy_reports(self.store, found.run_id, self.letter.sent.run_id)
            except (UserError, OSError) as error:  # the model is trained and logged: no reason to try for ever
                self._warn(f"the run lacks what an earlier one has of its model: {error}")

    def _log(self, metrics: Mapping[str, float], step: int, tags: Mapping[str, str], moment: int) -> None:
        from mlflow.entities import Metric, RunTag

        model = self.letter.sent.model_id or None
        with explained(self.store.uri):
            self.store.client.log_batch(
                self.letter.sent.run_id,
                metrics=[Metric(key, float(value), moment, step, model_id=model) for key, value in metrics.items()],
                tags=[RunTag(key, value) for key, value in tags.items()],
            )


def _params(entry: Entry) -> "list[Param]":
    from mlflow.entities import Param

    return [Param(key, value) for key, value in entry["params"].items()]


def _dataset_input(record: Mapping[str, Any]) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**record), tags=[InputTag("mlflow.data.context", "training")])
