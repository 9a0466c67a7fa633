"""Complete the run of the model in `models/`: whatever the store lacks of it, it gets from the files.

A run may be missing or incomplete because the store was away or is new, the training was killed, or the model was
pulled. Completing it works at any time, from any clone that has the files; where nothing is missing, it writes nothing.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from src.core.errors import UserError
from src.core.files import write_json
from src.tracking import history
from src.tracking.record import Record, read_record
from src.tracking.runs import NOTE, SESSION, find_runs, logged_epochs, logged_model
from src.tracking.start import log_start
from src.tracking.store import Store, open_store
from src.training.states import discard_unneeded_states, finished_session

if TYPE_CHECKING:
    from mlflow.entities import Run

_DIGESTS = "digests.json"  # written last: where it agrees with the files, the run is complete


class Completed(NamedTuple):
    run_id: str
    name: str
    experiment_id: str
    uri: str
    changed: bool
    missing: Sequence[Path]  # as in `Record`


def complete(fresh: str = "") -> Completed:
    """Complete the run that has the model in `models/` and its parameters, or make one.

    fresh: as in `read_record`. Raises `UserError` if the store cannot be used, or `dvc.lock` does not hold the model.
    """
    record, store = read_record(fresh), open_store()
    # The run of the training that has just made the model here, or the newest of this model with these parameters.
    session = finished_session(record.model_md5)
    own = find_runs(store, f"tags.{SESSION} = '{session}'") if session else []
    if not own:
        found = find_runs(store, f"tags.model_md5 = '{record.model_md5}'")
        own = [run for run in found if not history.differences(run.data.params, record.start.params)]
    if own:
        run = own[0]
    else:
        tags = {**record.start.tags, **record.tags}
        run = store.client.create_run(store.experiment_id, tags=tags, run_name=record.start.name)
    changed = _complete(store, run, record)
    discard_unneeded_states()
    missing = record.missing if changed else ()
    return Completed(run.info.run_id, run.info.run_name, run.info.experiment_id, store.uri, changed, missing)


def complete_or_warn(fresh: str) -> None:
    """Complete the run, or print a warning: a pipeline does not fail because of its store."""
    try:
        complete(fresh)
    except UserError as error:
        print(f"warning: {error}: python -m src.track sync completes the run", file=sys.stderr, flush=True)


def _complete(store: Store, run: "Run", record: Record) -> bool:
    """Log what the run lacks, its digests last; tell if it lacked anything."""
    from mlflow.entities import Metric, RunTag

    client, run_id = store.client, run.info.run_id
    with tempfile.TemporaryDirectory() as folder:
        repository = store.artifacts(run.info.artifact_uri)
        model = logged_model(store, run)
        known: dict[str, Any] = {"files": {}, "note": ""}
        if _DIGESTS in {file.path for file in repository.list_artifacts()}:
            known |= json.loads(Path(repository.download_artifacts(_DIGESTS, folder)).read_bytes())
            lacks = any(key.startswith("cost/") and key not in run.data.metrics for key in record.metrics)
            if known == record.digests and run.info.status == "FINISHED" and model and not lacks:
                return False
        log_start(store, run_id, record.start)

        if model:
            model_id = model.model_id
        else:
            from src.tracking.model import log_model  # imports torch

            model_id = log_model(store, run_id)

        now = time.time_ns() // 1_000_000
        steps = logged_epochs(store, run_id)
        metrics = [
            Metric(key, value, now, epoch)
            for epoch, values in record.curves.items()
            if epoch not in steps
            for key, value in values.items()
        ]
        metrics += [
            Metric(key, value, now, 0, model_id=model_id)
            for key, value in record.metrics.items()
            if run.data.metrics.get(key) != value
        ]
        tags = dict(record.tags)
        if run.data.tags.get(NOTE, "") == known["note"]:  # a user has not written another one
            tags[NOTE] = record.note
        client.log_batch(run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])

        for name, file in record.files.items():
            if known["files"].get(name) != record.digests["files"][name]:
                repository.log_artifact(str(file), str(Path(name).parent))
        write_json(Path(folder, "new", _DIGESTS), record.digests)
        repository.log_artifact(str(Path(folder, "new", _DIGESTS)))
        if run.info.status != "FINISHED":
            client.set_terminated(run_id, "FINISHED")
        if SESSION in run.data.tags:
            client.delete_tag(run_id, SESSION)
    return True
