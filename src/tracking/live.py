"""Show a training in MLflow while it goes on. No trouble of the store stops it or makes it wait.

One daemon thread sends what is in a bounded queue. What it cannot send is dropped, since files have it as well, and
`src.tracking.sync` completes the run from them.
"""

import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from src.core.addresses import without_credentials
from src.core.git import read_source
from src.core.paths import PARAMS
from src.params import load
from src.tracking import identity, record
from src.tracking.runs import PROCESS, close_dead, find_runs, logged_epochs, this_process
from src.tracking.store import Store, artifacts, explained, open_store, tracking_uri
from src.training.results import Epoch

SESSION = "session"  # the tag by which a training that goes on finds its run, until the run is complete
_ROOM = 1_000  # entries
_SAMPLE = 10.0  # seconds between two looks at memory, processors and GPUs
_PATIENCE = 5.0  # seconds for a store that answers to take the last entries
_HURRY = 3.0  # the same where a user or a scheduler ends us
_SPEED = ("images_per_second", "epoch_seconds", "peak_gpu_memory_gib")  # no file has what differs from run to run


class _Entry(NamedTuple):
    metrics: Mapping[str, float]
    step: int
    time: int  # ms
    tags: Mapping[str, str] = {}
    status: str = ""  # how the training ended: there are no more entries


class Live:
    """Send what a training tells; told again, an epoch counts once. session: that of the training, which may go on."""

    def __init__(self, session: str) -> None:
        text, source = PARAMS.read_text(encoding="utf-8"), read_source()
        flat = identity.parameters(text)
        self._session, self._params = session, record.short(flat)
        self._name, self._experiment = record.run_name(flat, text), load().data.display_name
        self._tags = {**record.source_tags(source), SESSION: session, PROCESS: this_process()}
        self._dataset, self._origin = record.dataset_record(flat), record.origin(source)
        self._queue: queue.Queue[_Entry] = queue.Queue(_ROOM)
        self._began = _now()
        self._failing = self._warned = False
        self._put(_Entry({}, 0, _now(), self._tags))  # the run is there before its first epoch
        self._thread = threading.Thread(target=self._send, name="tracking", daemon=True)
        self._thread.start()

    def log_epoch(self, epoch: Epoch) -> None:
        """Add a point to each curve, rounded as `reports/history.csv` has it."""
        metrics = {}
        for name, value in epoch.metrics().items():
            if name in _SPEED:
                metrics[f"system/{name}"] = value
            else:
                metrics[f"epoch/{name}"] = float(f"{value:.6g}" if name == "lr" else f"{value:.6f}")
        self._put(_Entry(metrics, epoch.number, _now()))

    def log_model_md5(self, md5: str) -> None:
        """Tell which model came out: by it the later stages find the run."""
        self._put(_Entry({}, 0, _now(), {"model_md5": md5}))

    def end(self, status: str, patience: float) -> None:
        """Send what is left. Where the store is in trouble, do not wait."""
        self._put(_Entry({}, 0, _now(), status=status))
        self._thread.join(0 if self._failing else patience)
        if self._thread.is_alive():
            self._warn(f"MLflow at {without_credentials(tracking_uri())}: no answer yet")

    def _put(self, entry: _Entry) -> None:
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._warn(f"MLflow at {without_credentials(tracking_uri())}: too slow")

    def _warn(self, reason: str) -> None:
        if not self._warned:
            print(
                f"warning: {reason}: training goes on, python -m src.track sync completes the run",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        self._warned = True

    def _send(self) -> None:
        """Be the thread: send each batch once, in order; after a failure, go on with the next."""
        run: _LiveRun | None = None
        while True:
            batch = self._batch()
            try:
                run = run or self._open(open_store(self._experiment))
                run.log(batch)
                self._failing = False
            except Exception as error:  # a dying server answers in ways that nobody foresaw: whatever it is, it is told
                self._failing = True
                self._warn(without_credentials(" ".join(str(error).split())) or type(error).__name__)
            if batch and batch[-1].status:
                return

    def _batch(self) -> list[_Entry]:
        """Take what is in the queue; where that is empty, wait until the machine is to be looked at again."""
        try:
            first = self._queue.get(timeout=_SAMPLE)
        except queue.Empty:
            return []
        return [first, *(self._queue.get_nowait() for _ in range(self._queue.qsize()))]  # nobody else takes any

    def _open(self, store: Store) -> "_LiveRun":
        """Go on with the run of this session, or make it; then close those whose process is gone."""
        found = find_runs(store, f"tags.{SESSION} = '{self._session}'")
        client = store.client
        with explained(store.uri):
            if found:
                run_id = found[0].info.run_id
                client.update_run(run_id, status="RUNNING")
            else:
                made = client.create_run(store.experiment_id, self._began, self._tags, self._name)
                run_id = made.info.run_id
        begin(store, run_id, self._params, self._dataset, self._origin)
        close_dead(store, spared=run_id)
        return _LiveRun(store, run_id)


class _LiveRun:
    """Log to one run, with what MLflow's own sampler says of the machine: its thread would warn of every failure."""

    def __init__(self, store: Store, run_id: str) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._store, self._id = store, run_id
        self._known = logged_epochs(store, run_id)
        self._monitor: Any = SystemMetricsMonitor(run_id, tracking_uri=store.uri)  # type: ignore[no-untyped-call]
        self._began, self._sampled = time.monotonic(), -_SAMPLE

    def log(self, batch: Sequence[_Entry]) -> None:
        from mlflow.entities import Metric, RunTag

        entries = [entry for entry in batch if entry.step not in self._known]
        now = time.monotonic()
        if now - self._sampled >= _SAMPLE:
            self._sampled = now
            self._monitor.collect_metrics()
            sample = {f"system/{key}": value for key, value in self._monitor.aggregate_metrics().items()}
            for kind in self._monitor.monitors:
                kind.clear_metrics()
            entries.append(_Entry(sample, int(now - self._began), _now()))
        metrics = [Metric(key, value, e.time, e.step) for e in entries for key, value in e.metrics.items()]
        tags = [RunTag(key, value) for entry in entries for key, value in entry.tags.items()]
        with explained(self._store.uri):
            self._store.client.log_batch(self._id, metrics, tags=tags)
            for entry in entries:
                if entry.status:
                    self._store.client.set_terminated(self._id, entry.status, entry.time)


@contextmanager
def live(session: str) -> Iterator[Live]:
    """Make a run that ends FINISHED; FAILED where the block raises, KILLED on Ctrl-C and SIGTERM."""
    run = Live(session)
    try:
        yield run
    except KeyboardInterrupt:
        run.end("KILLED", _HURRY)
        raise
    except BaseException:
        run.end("FAILED", _PATIENCE)
        raise
    run.end("FINISHED", _PATIENCE)


def begin(
    store: Store,
    run_id: str,
    params: Mapping[str, str],
    dataset: Mapping[str, str] | None,
    origin: Mapping[str, bytes],
) -> None:
    """Log what a run starts from, as far as it has not got it: parameters, data set, and the files of its code."""
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
            for name in sorted(origin, key=PARAMS.name.__eq__):  # the parameters last: they say that all is there
                Path(folder, name).write_bytes(origin[name])
                repository.log_artifact(str(Path(folder, name)))


def _now() -> int:
    return time.time_ns() // 1_000_000
