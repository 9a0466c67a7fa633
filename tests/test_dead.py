"""Runs whose process is gone, with real processes and a real store."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from src.tracking.dead import close, close_dead, dead_runs, gone

from src.tracking.runs import find_runs
from src.tracking.store import Store, open_store


def tags(pid: int, started: float | None = None) -> dict[str, str]:
    start = psutil.Process(pid).create_time() if started is None else started
    return {"process.host": platform.node(), "process.pid": str(pid), "process.started": f"{start:.2f}"}


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with process:
        yield process
        process.kill()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return open_store()


def test_a_process_is_gone_when_it_is_dead_a_zombie_or_another_one(child: "subprocess.Popen[bytes]") -> None:
    own = tags(child.pid)
    assert not gone(own)
    assert gone(tags(child.pid, psutil.Process(child.pid).create_time() - 3600)), "its number was given again"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert gone(own), "a zombie"
    child.wait()
    assert gone(own)


def test_what_cannot_be_known_is_not_gone(child: "subprocess.Popen[bytes]") -> None:
    own = tags(child.pid)
    child.kill()
    child.wait()
    assert not gone(own | {"process.host": "elsewhere"})
    assert not gone({})
    assert not gone(own | {"process.pid": "many"})


def test_runs_of_dead_processes_are_closed_at_their_last_sign_of_life(
    store: Store, child: "subprocess.Popen[bytes]"
) -> None:
    dead = tags(child.pid)
    child.kill()
    child.wait()
    client, experiment = store.client, store.experiment_id
    logged = client.create_run(experiment, start_time=1000, tags=dead).info.run_id
    silent = client.create_run(experiment, start_time=2000, tags=dead).info.run_id
    resumed = client.create_run(experiment, start_time=3000, tags=dead).info.run_id
    alive = client.create_run(experiment, tags=tags(os.getpid())).info.run_id
    finished = client.create_run(experiment, tags=dead).info.run_id
    client.set_terminated(finished, "FINISHED")
    for step, timestamp in enumerate((5000, 7000)):
        client.log_metric(logged, "train_loss", 0.5, timestamp, step)

    listed = dead_runs(find_runs(store))
    assert [run.info.run_id for run in listed] == [resumed, silent, logged]
    close_dead(store, spared=resumed)
    found = {run_id: client.get_run(run_id).info for run_id in (logged, silent, resumed, alive, finished)}
    assert [info.status for info in found.values()] == ["KILLED", "KILLED", "RUNNING", "RUNNING", "FINISHED"]
    assert (found[logged].end_time, found[silent].end_time) == (7000, 2000)
    assert close(store, listed) == 1, "those that ended since they were listed stay as they are"
    assert client.get_run(silent).info.end_time == 2000
