"""Show a training in MLflow while it goes on. No trouble of the store stops it or makes it wait.

A process of its own, `src.tracking.sender`, sends what it gets through a pipe: a thread that imports MLflow and talks
to the store would hold Python's lock, which training needs too. What does not fit into the pipe, or cannot be sent, is
dropped, since files have it as well, and `src.tracking.sync` completes the run from them.
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
from src.training.results import Epoch

_PATIENCE = 5.0  # seconds for a store that answers to take the last entries
_START = 20.0  # the same after the beginning: on a busy machine importing MLflow takes longer than a short training
_SPEED = ("images_per_second", "epoch_seconds", "peak_gpu_memory_gib")  # no file has what differs from run to run


class Live:
    """Send what a training tells; told again, an epoch counts once. session: that of the training, which may go on."""

    def __init__(self, session: str) -> None:
        command = [sys.executable, "-m", "src.tracking.sender", session, str(_now()), str(os.getpid())]
        # In a group of its own Ctrl-C does not reach it: it ends with the pipe.
        self._sender = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
        assert self._sender.stdin is not None
        self._pipe = self._sender.stdin.fileno()
        os.set_blocking(self._pipe, False)

    def log_epoch(self, epoch: Epoch) -> None:
        """Add a point to each curve, rounded as `reports/history.csv` has it."""
        metrics = {}
        for name, value in epoch.metrics().items():
            if name in _SPEED:
                metrics[f"system/{name}"] = value
            else:
                metrics[f"epoch/{name}"] = float(f"{value:.6g}" if name == "lr" else f"{value:.6f}")
        self._put(metrics=metrics, step=epoch.number)

    def log_model_md5(self, md5: str) -> None:
        """Tell which model came out: by it the later stages find the run."""
        self._put(tags={"model_md5": md5})

    def end(self, status: str, patience: float) -> None:
        """Let what is left be sent; the sender does not try where the store is in trouble already."""
        self._put(status=status)
        with self._sender as sender:  # which closes the pipe
            try:
                sender.wait(patience)
            except subprocess.TimeoutExpired:
                sender.kill()
                where = without_credentials(tracking_uri())
                words = "no answer yet: training goes on, python -m src.track sync completes the run"
                print(f"warning: MLflow at {where}: {words}", file=sys.stderr, flush=True)

    def _put(self, **entry: Any) -> None:
        line = json.dumps({"time": _now(), **entry}) + "\n"
        with suppress(BlockingIOError, BrokenPipeError):  # the pipe is full, or the sender is gone
            os.write(self._pipe, line.encode())  # in one piece or not at all, being short


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
