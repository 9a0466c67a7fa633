"""Runs that MLflow shows as RUNNING although the process that wrote them is gone: nothing but we can close them."""

import platform
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import psutil

from src.tracking.runs import find_runs
from src.tracking.store import Store, explained

if TYPE_CHECKING:
    from mlflow.entities import Run

# Seconds between two readings of one process's start: the kernel counts from a boot time that moves with the clock.
_SAME_START = 2.0


def gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that a run's tags `process.host`, `process.pid` and `process.started` name has ended.

    False for another host's, of which nothing can be known here, and for runs without these tags: they are not ours.
    A number that the system has given to a new process does not count as the old one, nor does a zombie.
    """
    try:
        pid, started = int(tags["process.pid"]), float(tags["process.started"])
        if tags["process.host"] != platform.node():
            return False
        process = psutil.Process(pid)
        return abs(process.create_time() - started) > _SAME_START or process.status() == psutil.STATUS_ZOMBIE
    except (KeyError, ValueError):
        return False
    except psutil.NoSuchProcess:
        return True


def dead_runs(runs: Iterable["Run"]) -> list["Run"]:
    """Those that are RUNNING though their process on this host is gone."""
    return [run for run in runs if run.info.status == "RUNNING" and gone(run.data.tags)]


def close_dead(store: Store, spared: str) -> None:
    """Closes the experiment's dead runs, children too. `spared` stays, since a resumed training goes on writing it."""
    running = find_runs(store, "attributes.status = 'RUNNING'")
    close(store, [run for run in dead_runs(running) if run.info.run_id != spared])


def close(store: Store, dead: Iterable["Run"]) -> int:
    """Closes runs as KILLED, at their last sign of life; how many. One that ended properly meanwhile is left alone."""
    closed = 0
    for run_id in [run.info.run_id for run in dead]:
        with explained(store.uri):
            run = store.client.get_run(run_id)
            if run.info.status != "RUNNING":
                continue
            # All curves of an epoch are logged together, so that any of them tells.
            curve = next(iter(run.data.metrics), None)
            points = store.client.get_metric_history(run_id, curve) if curve else []
            end = max([run.info.start_time, *(point.timestamp for point in points)])
            store.client.set_terminated(run_id, "KILLED", end)
        closed += 1
    return closed
