"""Find runs in a store, which makes nothing there; log what they start from."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.paths import PARAMS
from src.tracking.record import Start
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run

CURVE = "epoch/train_loss"  # all curves of an epoch are logged together, so that this one stands for all
SESSION = "session"  # the tag by which a training that goes on finds its run; a complete run has it no more


def find_runs(store: Store, query: str = "", *, everywhere: bool = False) -> list["Run"]:
    """Return the runs that match, newest first, of the store's experiment or `everywhere`."""
    if everywhere:
        ids = [experiment.experiment_id for experiment in store.client.search_experiments()]
    else:
        ids = [store.experiment_id]
    found: list[Run] = []
    token: str | None = None
    while token != "":
        page = store.client.search_runs(ids, query, order_by=["attributes.start_time DESC"], page_token=token)
        found += page
        token = page.token or ""
    return found


def runs_of(store: Store, model_md5: str) -> list["Run"]:
    """Return the runs of a model, newest first."""
    return find_runs(store, f"tags.model_md5 = '{model_md5}'", everywhere=True)


def run_by_id(store: Store, run_id: str) -> "Run | None":
    """Return a run, or None. (It is searched for, since `get_run` raises where there is none.)"""
    return next(iter(find_runs(store, f"attributes.run_id = '{run_id}'", everywhere=True)), None)


def registered_run(store: Store, uri: str) -> "Run":
    """Return the run of `models:/NAME@ALIAS` or `models:/NAME/VERSION`. Raises `UserError`."""
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if match is None:
        raise UserError(f"{uri}: must be models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, version = match.groups()
    client = store.client
    found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    run = run_by_id(store, found.run_id) if found.run_id else None
    if run is None:
        raise UserError(f"{uri}: the run that it came from is gone from {without_credentials(store.uri)}")
    return run


def log_start(store: Store, run_id: str, start: Start) -> None:
    """Log what a run starts from, as far as it lacks it: parameters, data set and files."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    run = store.client.get_run(run_id)
    if absent := [Param(key, value) for key, value in start.params.items() if key not in run.data.params]:
        store.client.log_batch(run_id, params=absent)
    if start.dataset and not (run.inputs and run.inputs.dataset_inputs):
        tags = [InputTag("mlflow.data.context", "training")]
        store.client.log_inputs(run_id, [DatasetInput(Dataset(**start.dataset), tags)])
    repository = store.artifacts(run.info.artifact_uri)
    if PARAMS.name in {file.path for file in repository.list_artifacts()}:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(start.files, key=PARAMS.name.__eq__):  # the parameters last: where they are, all are
            Path(folder, name).write_bytes(start.files[name])
            repository.log_artifact(str(Path(folder, name)))


def logged_model(store: Store, run: "Run") -> "LoggedModel | None":
    """Return the model that the run has logged completely; None also where it was deleted in MLflow since."""
    from mlflow.entities import LoggedModelStatus

    query = f"source_run_id = '{run.info.run_id}'"
    found = store.client.search_logged_models([run.info.experiment_id], query)
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)


def logged_epochs(store: Store, run_id: str) -> set[int]:
    """Return the epochs that the curves of the run have."""
    return {point.step for point in store.client.get_metric_history(run_id, CURVE)}
