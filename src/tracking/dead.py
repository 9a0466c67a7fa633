"""Runs that MLflow shows as RUNNING although the process that wrote them is gone: nothing but we can close them."""

import platform
from collections.abc import Collection, Mapping
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


def dead_runs(store: Store) -> list["Run"]:
    """The experiment's runs, children too, that are RUNNING though their process on this host is gone; oldest first."""
    running = find_runs(store, "attributes.status = 'RUNNING'")
    return [run for run in reversed(running) if gone(run.data.tags)]


def close_dead(store: Store, spared: Collection[str] = ()) -> list[str]:
    """Closes them as KILLED, at their last sign of life, and returns their ids.

    spared: ids of runs that stay as they are, since a resumed training goes on writing them.
    """
    closed = []
    for run in dead_runs(store):
        run_id = run.info.run_id
        if run_id not in spared:
            with explained(store.uri):
                # All curves of an epoch are logged together, so that any of them tells.
                curve = next(iter(run.data.metrics), None)
                points = store.client.get_metric_history(run_id, curve) if curve else []
                end = max([run.info.start_time, *(point.timestamp for point in points)])
                store.client.set_terminated(run_id, "KILLED", end)
            closed.append(run_id)
    return closed
