"""Find runs in a store, which makes nothing there; log what they start from, and close dead ones."""

import os
import platform
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.paths import PARAMS, main_root
from src.tracking.store import Store, artifacts, explained

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run

CURVE = "epoch/train_loss"  # all curves of an epoch are logged together, so that this one stands for all
SESSION = "session"  # the tag by which a training that goes on finds its run; a complete run has it no more
PROCESS = "process"  # the tag that names the process that writes the run; a complete run has it no more
_SAME_START = 2.0  # seconds by which two readings of a process's start may differ: it moves with the clock


def find_runs(store: Store | None, query: str = "", *, everywhere: bool = False) -> list["Run"]:
    """Return the runs that match, newest first, of the store's experiment or `everywhere`; without a store none."""
    found: list[Run] = []
    if store is None:
        return found
    token: str | None = None
    with explained(store.uri):
        if everywhere:
            ids = [experiment.experiment_id for experiment in store.client.search_experiments()]
        else:
            ids = [store.experiment_id]
        while token != "":
            page = store.client.search_runs(ids, query, order_by=["attributes.start_time DESC"], page_token=token)
            found += page
            token = page.token or ""
    return found


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
    with explained(store.uri):
        client = store.client
        found = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, version)
    run = run_by_id(store, found.run_id) if found.run_id else None
    if run is None:
        raise UserError(f"{uri}: the run that it came from is gone from {without_credentials(store.uri)}")
    return run


def begin(
    store: Store,
    run_id: str,
    params: Mapping[str, str],
    dataset: Mapping[str, str] | None,
    origin: Mapping[str, bytes],
) -> None:
    """Log what a run starts from, as far as it lacks it: parameters, data set, and the files of `origin`."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    with explained(store.uri):
        run = store.client.get_run(run_id)
        if absent := [Param(key, value) for key, value in params.items() if key not in run.data.params]:
            store.client.log_batch(run_id, params=absent)
        if dataset and not (run.inputs and run.inputs.dataset_inputs):
            tags = [InputTag("mlflow.data.context", "training")]
            store.client.log_inputs(run_id, [DatasetInput(Dataset(**dataset), tags)])
        repository = artifacts(store, run.info.artifact_uri)
        if PARAMS.name in {file.path for file in repository.list_artifacts()}:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name in sorted(origin, key=PARAMS.name.__eq__):  # the parameters last: where they are, all are
                Path(folder, name).write_bytes(origin[name])
                repository.log_artifact(str(Path(folder, name)))


def logged_model(store: Store, run: "Run") -> "LoggedModel | None":
    """Return the model that the run has logged completely; None also where it was deleted in MLflow since."""
    from mlflow.entities import LoggedModelStatus

    query = f"source_run_id = '{run.info.run_id}'"
    with explained(store.uri):
        found = store.client.search_logged_models([run.info.experiment_id], query)
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)


def logged_epochs(store: Store, run_id: str) -> set[int]:
    """Return the epochs that the curves of the run have."""
    with explained(store.uri):
        return {point.step for point in store.client.get_metric_history(run_id, CURVE)}


def process_tag() -> str:
    """Return the value of the tag `process` for this process: host and clone, number, start."""
    return f"{_here()} {os.getpid()} {psutil.Process().create_time():.2f}"


def process_ended(tags: Mapping[str, str]) -> bool:
    """Tell if the process that the tag `process` names has ended.

    A zombie has ended, and so has a process whose number now belongs to another one. Return False for a process of
    another host or clone, of which nothing is known here, and without the tag, since such a run is not ours.
    """
    match = re.fullmatch(r"(.*) (\d+) ([\d.]+)", tags.get(PROCESS, ""))
    if match is None or match[1] != _here():
        return False
    try:
        process = psutil.Process(int(match[2]))
        return abs(process.create_time() - float(match[3])) > _SAME_START or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _here() -> str:
    """Name this host and clone: several hosts of a team may have the same name."""
    return f"{platform.node()}:{main_root()}"


def dead_runs(runs: Iterable["Run"]) -> list["Run"]:
    """Return the runs that MLflow shows as RUNNING though their process on this host is gone."""
    return [run for run in runs if run.info.status == "RUNNING" and process_ended(run.data.tags)]


def close_dead(store: Store) -> None:
    """Close the experiment's dead runs as KILLED, at the time of their last point."""
    for run in dead_runs(find_runs(store, "attributes.status = 'RUNNING'")):
        with explained(store.uri):
            points = store.client.get_metric_history(run.info.run_id, CURVE)
            end = max([run.info.start_time, *(point.timestamp for point in points)])
            store.client.set_terminated(run.info.run_id, "KILLED", end)
