"""Find runs in a store, and what they have logged."""

import re
from typing import TYPE_CHECKING

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run

CURVE = "epoch/train_loss"  # all curves of an epoch are logged together, so that this one stands for all
NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description of a run
SESSION = "session"  # the tag by which a training that goes on finds its run; a complete run has it no more
_MOST = 50_000  # runs that MLflow gives at once


def find_runs(store: Store | None, query: str = "", *, everywhere: bool = False) -> list["Run"]:
    """Return the runs that match, newest first, of the store's experiment or `everywhere`; without a store none."""
    if store is None:
        return []
    if everywhere:
        ids = [experiment.experiment_id for experiment in store.client.search_experiments()]
    else:
        ids = [store.experiment_id]
    return list(store.client.search_runs(ids, query, order_by=["attributes.start_time DESC"], max_results=_MOST))


def runs_of(store: Store | None, model_md5: str) -> list["Run"]:
    """Return the runs of a model, newest first."""
    return find_runs(store, f"tags.model_md5 = '{model_md5}'", everywhere=True)


def run_by_id(store: Store | None, run_id: str) -> "Run | None":
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


def logged_model(store: Store, run: "Run") -> "LoggedModel | None":
    """Return the model that the run has logged completely; None also where it was deleted in MLflow since."""
    from mlflow.entities import LoggedModelStatus

    query = f"source_run_id = '{run.info.run_id}'"
    found = store.client.search_logged_models([run.info.experiment_id], query)
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)


def logged_epochs(store: Store, run_id: str) -> set[int]:
    """Return the epochs that the curves of the run have."""
    return {point.step for point in store.client.get_metric_history(run_id, CURVE)}
