"""A training shown while it goes on: no trouble of the store stops it, delays it, or is told more than once."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from test_sync import content, runs
from tracking_samples import EPOCHS, epoch, finished, make_results
from tracking_server import Server

from src.core import paths
from src.core.errors import UserError
from src.core.files import digest
from src.tracking.live import live
from src.tracking.store import open_store
from src.tracking.sync import complete

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tree")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    found.start()
    with pytest.MonkeyPatch.context() as patch:  # its first answer takes seconds
        patch.setenv("MLFLOW_TRACKING_URI", found.uri)
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "first")
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
        assert open_store().experiment_id
    yield found
    found.kill()


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


def test_a_silent_store_delays_nothing_and_gets_the_run_later(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "silent")
    for name in ("_PATIENCE", "_START"):
        monkeypatch.setattr(f"src.tracking.live.{name}", 1.0)
    with server.silent(), monkeypatch.context() as hurried:
        hurried.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
        assert train() < 2
        (warning,) = capfd.readouterr().err.splitlines()
        assert warning.startswith(f"warning: MLflow at {server.uri}: ")
        assert warning.endswith(": no answer yet: python -m src.track sync completes the run")
        with pytest.raises(UserError, match=f"MLflow at {server.uri}: "):
            complete()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    done = complete()
    found = content(open_store().client, done.run_id)
    assert (found["status"], len(found["curves"]["epoch/train_loss"]), runs()) == ("FINISHED", EPOCHS, [done.run_id])
    assert found["models"] == 1
    assert {"reports/figures/one.png", "params.yaml"} <= {*found["files"]}


def test_a_server_that_dies_and_comes_back_has_one_run_with_every_epoch_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    with live("session") as run:
        run.log_epoch(epoch(1))
        until = time.monotonic() + 60
        while not runs() and time.monotonic() < until:
            time.sleep(0.2)
        with server.killed():
            run.log_epoch(epoch(2))
            time.sleep(3)
        for number in range(3, EPOCHS + 1):
            run.log_epoch(epoch(number))
        make_results()
        finished("session")
    assert capfd.readouterr().err.count("warning: ") == 1
    (live_run,) = runs()
    assert complete().run_id == live_run
    curve = content(open_store().client, live_run)["curves"]["epoch/train_loss"]
    assert sorted(step for step, _ in curve) == [*range(1, EPOCHS + 1)]


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
