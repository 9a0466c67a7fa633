"""Send a training's curves to MLflow while it goes on, as a process of its own: see `src.tracking.live`.

python -m src.tracking.sender SESSION BEGAN   reads a JSON object a line: time, metrics with step, tags, status

Times are in milliseconds. Where the lines end without a status, the training was killed, and so is its run.
"""

import json
import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from src.core.addresses import without_credentials
from src.tracking.runs import SESSION, find_runs, logged_epochs
from src.tracking.start import log_start, read_start
from src.tracking.store import open_store

_EVERY = 2.0  # seconds between two batches, since each makes a SQLite store sync the disk, which training uses, too
_SAMPLE = 10.0  # seconds between two samples of memory, processors and GPUs; also the pause after a failure


class _Run:
    """Continue the run of a session, or make it.

    Usage of the machine is sampled by MLflow's monitor, but not in its own thread: that ends at the first failure of
    the store, and its first sample comes after trainings as short as those of digits.
    """

    def __init__(self, session: str, began: int) -> None:
        self._store = store = open_store()
        start, found = read_start(), find_runs(store, f"tags.{SESSION} = '{session}'")
        if found:
            self._id = found[0].info.run_id
            store.client.update_run(self._id, status="RUNNING")
        else:
            tags = {**start.tags, SESSION: session}
            self._id = store.client.create_run(store.experiment_id, began, tags, start.name).info.run_id
        log_start(store, self._id, start)
        self._known = logged_epochs(store, self._id)
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor: Any = SystemMetricsMonitor(self._id, tracking_uri=store.uri)  # type: ignore[no-untyped-call]
        self._began, self._sampled = began, 0

    def log(self, batch: Sequence[dict[str, Any]]) -> None:
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(key, value, entry["time"], entry["step"])
            for entry in batch
            if entry.get("step") not in self._known
            for key, value in entry.get("metrics", {}).items()
        ]
        now = time.time_ns() // 1_000_000
        if now - self._sampled >= 1000 * _SAMPLE:
            self._sampled = now
            self._monitor.collect_metrics()
            sample, second = self._monitor.aggregate_metrics(), (now - self._began) // 1000
            metrics += [Metric(f"system/{key}", value, now, second) for key, value in sample.items()]
            for kind in self._monitor.monitors:
                kind.clear_metrics()
        tags = [RunTag(key, value) for entry in batch for key, value in entry.get("tags", {}).items()]
        if metrics or tags:
            self._store.client.log_batch(self._id, metrics, tags=tags)
        if batch and "status" in batch[-1]:
            self._store.client.set_terminated(self._id, batch[-1]["status"], batch[-1]["time"])


def main(session: str, began: int) -> None:
    """Send each batch once, in order. After a failure drop entries for `_SAMPLE` seconds; warn only the first time."""
    warned, failed = False, -_SAMPLE
    run: _Run | None = None
    for batch in _batches():
        if time.monotonic() - failed > _SAMPLE:
            try:
                run = run or _Run(session, began)
                run.log(batch)
            except Exception as error:  # a dying server fails in many ways, and every one is reported
                failed = time.monotonic()
                reason = without_credentials(" ".join(str(error).split())) or type(error).__name__
                words = "training goes on, python -m src.track sync completes the run"
                if not warned:
                    print(f"warning: {reason}: {words}", file=sys.stderr, flush=True)
                warned = True
        if batch and "status" in batch[-1]:
            os._exit(0)  # the training waits for us, and a clean end of Python takes a while


def _batches() -> Iterator[list[dict[str, Any]]]:
    """Yield an empty batch, then every `_EVERY` seconds what came through the pipe; the last batch at once."""
    yield []
    text, due = b"", time.monotonic() + _EVERY
    while True:
        if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
            read = os.read(sys.stdin.fileno(), 2**20)
            text += read or json.dumps({"status": "KILLED", "time": time.time_ns() // 1_000_000}).encode() + b"\n"
            if time.monotonic() < due and b'"status"' not in text:
                continue
        *lines, text = text.split(b"\n")
        yield [json.loads(line) for line in lines]
        due = time.monotonic() + _EVERY


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
