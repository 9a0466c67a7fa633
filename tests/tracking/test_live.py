"""A training shown while it goes on: no trouble of the store stops it, delays it, or is told more than once."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from test_sync import content, runs
from tracking_samples import EPOCHS, epoch, finished, make_results

from src.core import paths
from src.core.errors import UserError
from src.core.files import digest
from src.tracking.live import Live, live
from src.tracking.store import open_store
from src.tracking.sync import complete

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tree")]


def train() -> float:
    """Return how many seconds tracking took of the training's time; the process ends, and the later stages follow."""
    started = time.monotonic()
    with live("session") as run:
        for number in range(1, EPOCHS + 1):
            run.log_epoch(epoch(number))
        took = time.monotonic() - started
        make_results()
        finished("session")
        run.log_model_md5(digest(paths.MODEL))
        ending = time.monotonic()
    took += time.monotonic() - ending
    run._sender.wait()
    return took


def test_without_validation_images_there_are_no_such_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(Live, "_put", lambda _, **entry: sent.append(entry))
    run = object.__new__(Live)  # without the process that sends
    run.log_epoch(replace(epoch(1), validation_loss=None, validation_accuracy=None))
    curves = {name for name in sent[0]["metrics"] if name.startswith("epoch/")}
    assert curves == {"epoch/train_loss", "epoch/train_accuracy", "epoch/lr"}


def test_a_silent_store_delays_nothing(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    for name in ("_PATIENCE", "_START"):
        monkeypatch.setattr(f"src.tracking.live.{name}", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert train() < 2
        (warning,) = capfd.readouterr().err.splitlines()
        assert warning.startswith(f"warning: MLflow at {uri}: ")
        assert warning.endswith(": no answer yet: python -m src.track sync completes the run")
        with pytest.raises(UserError, match=f"MLflow at {uri}: "):
            complete()


@contextmanager
def serving(folder: Path, port: int) -> Iterator[None]:
    """Run a real MLflow server in the block, and kill it at its end. What it has stored stays in the folder."""
    environment = os.environ | {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    command = [sys.executable, "-m", "flask", "--app", "mlflow.server", "run", "--port", str(port)]
    with (
        (folder / "server.txt").open("ab") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            for _ in range(1200):
                assert server.poll() is None, (folder / "server.txt").read_text()
                with suppress(requests.ConnectionError):
                    requests.get(f"http://127.0.0.1:{port}/health", timeout=5).raise_for_status()
                    break
                time.sleep(0.1)
            yield
        finally:
            server.kill()


def test_a_server_that_dies_and_comes_back_has_one_run_with_every_epoch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(serving(tmp_path, port))
        assert runs() == []  # its first answer takes seconds
        with live("session") as run:
            run.log_epoch(epoch(1))
            until = time.monotonic() + 60
            while not runs() and time.monotonic() < until:
                time.sleep(0.2)
            first.close()
            run.log_epoch(epoch(2))
            time.sleep(3)
            second.enter_context(serving(tmp_path, port))
            for number in range(3, EPOCHS + 1):
                run.log_epoch(epoch(number))
            make_results()
            finished("session")
        assert capfd.readouterr().err.count("warning: ") == 1
        (live_run,) = runs()
        assert complete().run_id == live_run
        found = content(open_store().client, live_run)
    assert sorted(step for step, _ in found["curves"]["epoch/train_loss"]) == [*range(1, EPOCHS + 1)]
    assert (found["status"], found["models"]) == ("FINISHED", 1)
    assert {"reports/figures/one.png", "params.yaml"} <= {*found["files"]}


def test_a_training_that_was_ended_says_so_and_goes_on_in_its_run() -> None:
    def ended() -> None:
        with live("session") as run:
            for number in (1, 2):
                run.log_epoch(epoch(number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ended()
    client = open_store().client
    (first,) = runs()
    assert client.get_run(first).info.status == "KILLED"
    assert "system/cpu_utilization_percentage" in client.get_run(first).data.metrics
    train()
    assert complete().run_id == first
    found = content(client, first)
    assert (found["status"], runs()) == ("FINISHED", [first])
    assert [step for step, _ in found["curves"]["epoch/train_loss"]] == [*range(1, EPOCHS + 1)]


def test_a_training_that_was_killed_before_its_run_was_made_leaves_none_open() -> None:
    command = [sys.executable, "-Pm", "src.tracking.sender", "session", "0"]
    sender = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert sender.stderr == ""
    (run,) = runs()
    assert open_store().client.get_run(run).info.status == "KILLED"
