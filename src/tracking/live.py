"""Show a training in MLflow while it goes on. No trouble of the store stops the training or makes it wait.

Entries go through a pipe to a process of its own, `src.tracking.sender`, which talks to the store: a thread would hold
Python's lock, which training needs, too. Entries that do not fit into the pipe, or cannot be sent, are dropped: files
hold the same, and `src.tracking.sync` completes the run from them.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from src.core.addresses import without_credentials
from src.tracking.store import tracking_uri
from src.training.epoch import CURVES, Epoch

_PATIENCE = 5.0  # seconds for a store that answers to take the last entries
_START = 20.0  # seconds after the start until which it may answer: importing MLflow may outlast a short training


class Live:
    """Send the curves of a training. An epoch that is sent twice counts once.

    session: names the training; one that goes on after a kill keeps its session, and so its run.
    """

    def __init__(self, session: str) -> None:
        command = [sys.executable, "-m", "src.tracking.sender", session, str(_now())]
        # In a group of its own Ctrl-C does not reach it: it ends with the pipe.
        self._sender = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
        assert self._sender.stdin is not None
        self._pipe = self._sender.stdin.fileno()
        os.set_blocking(self._pipe, False)

    def log_epoch(self, epoch: Epoch) -> None:
        """Add a point to each curve, rounded as in `reports/history.csv`."""
        curves = {name: getattr(epoch, name) for name in CURVES}
        metrics = {f"epoch/{name}": round(value, 6) for name, value in curves.items() if value is not None}
        metrics["epoch/lr"] = float(f"{epoch.lr:.6g}")
        speed = {
            "images_per_second": epoch.images_per_second,
            "epoch_seconds": epoch.seconds,
            "peak_gpu_memory_gib": epoch.peak_gpu_memory_gib,
        }
        metrics |= {f"system/{name}": value for name, value in speed.items() if value is not None}
        self._put(metrics=metrics, step=epoch.number)

    def log_model_md5(self, md5: str) -> None:
        """Record the model that was trained, by which later stages find the run."""
        self._put(tags={"model_md5": md5})

    def end(self, status: str, patience: float) -> None:
        """Wait up to `patience` seconds for the last entries; a sender in trouble with the store ends at once."""
        self._put(status=status)
        with self._sender as sender:  # which closes the pipe
            try:
                sender.wait(patience)
            except subprocess.TimeoutExpired:
                sender.kill()
                remedy = ": python -m src.track sync completes the run" if status == "FINISHED" else ""
                where = without_credentials(tracking_uri())
                print(f"warning: MLflow at {where}: no answer yet{remedy}", file=sys.stderr, flush=True)

    def _put(self, **entry: Any) -> None:
        line = json.dumps({"time": _now(), **entry}) + "\n"
        with suppress(BlockingIOError, BrokenPipeError):  # the pipe is full, or the sender is gone
            os.write(self._pipe, line.encode())  # a line is so short that it is written as a whole or not at all


@contextmanager
def live(session: str) -> Iterator[Live]:
    """Make a run that ends FINISHED; FAILED where the block raises, KILLED on Ctrl-C and SIGTERM."""
    run, began = Live(session), time.monotonic()
    status, patience = "FAILED", _PATIENCE
    try:
        yield run
        status, patience = "FINISHED", max(_PATIENCE, _START - (time.monotonic() - began))
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        run.end(status, patience)


def _now() -> int:
    return time.time_ns() // 1_000_000
