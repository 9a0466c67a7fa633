"""Trouble of the tracking store: training goes on, nothing waits for long, and everything arrives once, later."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from src.tracking.outbox import letter_of
from src.tracking.sender import send, unsent
from tracking_samples import ROOT, make_model, make_tree, settings
from tracking_server import Server

from src.core.files import digest
from src.core.paths import MODEL, outbox
from src.tracking import attach, sender, training_run
from src.tracking.store import open_store

EPOCHS = range(1, 6)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store: MLflow takes seconds to make one."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        open_store()
    return folder / "mlflow.db"


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What tracking reads of a repository, as current folder."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    make_tree(tmp_path / "clone")
    shutil.copy(store, tmp_path / "clone")
    (tmp_path / "clone/reports").mkdir()
    (tmp_path / "clone/reports/history.csv").write_text("epoch\n")
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setattr(sender, "AGAIN", 0.2)
    return tmp_path / "clone"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    found.start()
    with pytest.MonkeyPatch.context() as patch:  # its first answer takes seconds
        patch.setenv("MLFLOW_TRACKING_URI", found.uri)
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
        open_store()
    yield found
    found.kill()


def metrics(epoch: int) -> dict[str, float]:
    return {"train_loss": 1 / epoch, "validation_accuracy": 1 - 1 / epoch, "lr": 0.1}


def train(session: str | None = None, until: int = EPOCHS[-1]) -> str:
    with training_run(settings(), session) as run:
        for epoch in range(1, until + 1):
            run.log_epoch(epoch, metrics(epoch))
        run.set_tags({"device": "cpu"})
        run.log_artifact(Path("reports/history.csv"), "reports")
    return run.id


def content(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """All of a run but its id and its times."""
    run = client.get_run(run_id)
    own = ("process.", "training.session", "mlflow.")
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {
        "status": run.info.status,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if not key.startswith(own)},
        "curves": {
            key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        "inputs": [entry.dataset.digest for entry in inputs],
        "files": sorted(file.path for folder in ("", "reports") for file in client.list_artifacts(run_id, folder)),
    }


def runs(client: MlflowClient) -> list[str]:
    experiments = [found.experiment_id for found in client.search_experiments() if found.name != "Default"]
    return [run.info.run_id for run in client.search_runs(experiments, order_by=["attributes.start_time DESC"])]


@pytest.mark.parametrize("kind", ["killed", "500", "silent"])
def test_a_store_in_trouble_from_the_start_gets_the_run_later(
    kind: str, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    expected = content(open_store().client, train())
    with server.trouble(kind), monkeypatch.context() as hurried:
        hurried.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        started = time.monotonic()
        assert not train(), "no id yet"
        assert time.monotonic() - started < 20
        waiting = unsent()
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"warning: MLflow at {server.uri}: ")
    assert last.startswith("not in MLflow yet: mnist cifar_basic: its beginning, epochs 1 to 5, 1 file (MLflow at ")
    assert waiting == ["mnist cifar_basic: its beginning, epochs 1 to 5, 1 file"]
    assert send() == ["mnist cifar_basic"]
    assert (unsent(), list(outbox().iterdir())) == ([], [])
    client = open_store().client
    assert content(client, runs(client)[0]) == expected


def test_a_server_that_dies_and_comes_back_has_the_same_run(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    expected = content(open_store().client, train())
    capsys.readouterr()
    with training_run(settings()) as run:
        run.log_epoch(1, metrics(1))
        with server.trouble("killed"):
            for epoch in EPOCHS[1:]:
                started = time.monotonic()
                run.log_epoch(epoch, metrics(epoch))
                assert time.monotonic() - started < 1, "training waits for nobody"
                time.sleep(0.3)
        run.set_tags({"device": "cpu"})
        run.log_artifact(Path("reports/history.csv"), "reports")
    assert content(open_store().client, run.id) == expected
    told = capsys.readouterr().err
    assert f"warning: MLflow at {server.uri}: [Errno 111] Connection refused: going on without it" in told
    assert "MLflow has the run again" in told
    assert "not in MLflow" not in told


def test_a_locked_database_gets_the_run_at_the_next_start(capsys: pytest.CaptureFixture[str]) -> None:
    expected = content(open_store().client, train())
    with closing(sqlite3.connect("mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        train()
        assert time.monotonic() - started < 20
        other.rollback()
    assert "database is locked" in capsys.readouterr().err
    client = open_store().client
    assert len(runs(client)) == 1
    train()
    kept = [content(client, run_id) for run_id in runs(client)]
    assert kept == [expected] * 3


def test_the_bound_holds_whatever_the_store_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hang() -> None:
        time.sleep(3)

    monkeypatch.setattr(sender, "open_store", hang)
    monkeypatch.setattr(sender, "PATIENCE", 0.5)
    started = time.monotonic()
    train()
    assert 1 <= time.monotonic() - started < 2
    assert "not in MLflow yet: mnist cifar_basic: its beginning, epochs 1 to 5" in capsys.readouterr().err


def test_epochs_told_again_are_there_once_and_what_was_missing_is_filled() -> None:
    def interrupted() -> None:
        with training_run(settings(), "session") as run:
            for epoch in (1, 2, 4):
                run.log_epoch(epoch, metrics(epoch))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    client = open_store().client
    (run_id,) = runs(client)
    assert client.get_run(run_id).info.status == "KILLED"
    assert train("session") == run_id
    assert runs(client) == [run_id]
    found = content(client, run_id)
    assert found["status"] == "FINISHED"
    assert sorted(found["curves"]["train_loss"]) == [(epoch, 1 / epoch) for epoch in EPOCHS]


KILLED = """
import os
from src.tracking import training_run
from tracking_samples import settings
with training_run(settings(), {session!r}) as run:
    for epoch in (1, 2, 3):
        run.log_epoch(epoch, {{"train_loss": 1 / epoch, "validation_accuracy": 1 - 1 / epoch, "lr": 0.1}})
    {last}
    os.kill(os.getpid(), 9)
"""


def killed(session: str, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT}/tests")
    done = subprocess.run([sys.executable, "-Pc", KILLED.format(session=session, last=last)], check=False)
    assert done.returncode == -9


def test_the_next_start_sends_what_a_killed_process_left_and_closes_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = content(open_store().client, train())
    killed(
        "left", monkeypatch, "run._sender.settle(); run._letter.closed = True; run.log_epoch(4, {'train_loss': 0.25})"
    )
    assert unsent() == ["mnist cifar_basic: epoch 4"]
    train()
    client = open_store().client
    newest, left, first = [content(client, run_id) for run_id in runs(client)]
    assert newest == first == expected
    assert left["status"] == "KILLED"
    assert [step for step, _ in left["curves"]["train_loss"]] == [1, 2, 3, 4]


def test_a_killed_training_goes_on_in_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = content(open_store().client, train())
    killed("same", monkeypatch, "run._sender.settle()")
    client = open_store().client
    left = runs(client)[0]
    assert client.get_run(left).info.status == "RUNNING"
    assert train("same") == left
    assert content(client, left) == expected
    assert len(runs(client)) == 2


@pytest.mark.parametrize("file", ["sent.json", "entries.jsonl"])
def test_what_a_power_failure_cut_in_half_is_sent_all_the_same(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = content(open_store().client, train())
    killed("same", monkeypatch, "run._sender.settle()")
    (folder,) = outbox().glob("*-same")
    os.truncate(folder / file, (folder / file).stat().st_size // 2)
    client = open_store().client
    left = runs(client)[0]
    assert train("same") == left
    assert content(client, left) == expected
    assert len(runs(client)) == 2
    assert not [*outbox().iterdir()]


def test_what_dvc_made_read_only_can_be_replaced_in_the_store(tree: Path) -> None:
    figures = tree / "reports/figures"
    figures.mkdir()
    (figures / "samples.png").write_bytes(b"")
    for path in (figures / "samples.png", tree / "reports/history.csv"):
        path.chmod(0o444)
    with training_run(settings()) as run:
        for path in (figures, tree / "reports/history.csv"):
            run.log_artifact(path, "reports")
    kept = [path for path in (tree / "mlartifacts").rglob("*") if path.name in ("samples.png", "history.csv")]
    assert sorted(path.name for path in kept) == ["history.csv", "samples.png"]
    assert all(path.stat().st_mode & 0o200 for path in kept)


def test_a_letter_is_held_by_one_process_and_its_torn_end_is_cut_off() -> None:
    letter = letter_of("one")
    letter.add("begin", name="a run", store="s")
    letter.add("epoch", step=1, metrics={})
    assert unsent() == [], "a living process will send it"
    letter.close()
    (folder,) = outbox().iterdir()
    assert unsent() == ["a run: its beginning, epoch 1, for s"]
    whole = (folder / "entries.jsonl").read_bytes()
    (folder / "entries.jsonl").write_bytes(whole + b'{"what": "epoch", "st')
    again = letter_of("one")
    again.add("epoch", step=2, metrics={})
    assert [entry.get("step") for entry in again.entries] == [None, 1, 2]
    again.close()
    lines = (folder / "entries.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["what"] for line in lines] == ["begin", "epoch", "epoch"]


def test_what_took_effect_although_its_answer_was_lost_is_there_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    probabilities = make_model(MODEL, "mnist_convnet")
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    store = open_store()
    lost: list[str] = []

    def losing(name: str) -> Callable[..., Any]:
        real = getattr(MlflowClient, name)

        def call(*arguments: Any, **named: Any) -> Any:
            answer = real(*arguments, **named)
            if name not in lost:
                lost.append(name)
                raise MlflowException("the answer was lost")
            return answer

        return call

    calls = ["create_run", "log_inputs", "create_logged_model", "log_model_artifacts", "log_outputs", "log_batch"]
    for name in calls:
        monkeypatch.setattr(MlflowClient, name, losing(name))
    with training_run(settings()) as run:
        run.log_epoch(1, metrics(1))
        run.log_model(probabilities, images, MODEL)
        for _ in range(20):
            if run._sender.settle():
                break
    assert sorted(lost) == sorted(calls)
    assert "MLflow has the run again" in capsys.readouterr().err
    (found,) = runs(store.client)
    assert found == run.id
    (model,) = store.client.search_logged_models([store.experiment_id])
    outputs = store.client.get_run(found).outputs
    assert outputs is not None
    assert [output.model_id for output in outputs.model_outputs] == [model.model_id]
    assert (model.status, store.client.get_run(found).data.tags["model_md5"]) == ("READY", digest(MODEL))
    assert [point.step for point in store.client.get_metric_history(found, "train_loss")] == [1]


def test_a_later_stage_finds_the_run_that_could_not_be_sent_before(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    MODEL.parent.mkdir()
    MODEL.write_bytes(os.urandom(8))
    with server.trouble("500"), training_run(settings()) as run:
        run.set_tags({"model_md5": digest(MODEL)})
    with attach(MODEL, "evaluate", {"bins": 15}) as stage:
        stage.log_metrics({"test_accuracy": 0.75})
    data = open_store().client.get_run(stage.id).data
    assert data.params["train.epochs"]
    assert (data.tags["evaluate.status"], data.tags["evaluate.run"]) == ("finished", stage.id)
    assert data.metrics["test_accuracy"] == 0.75
    assert not list(outbox().iterdir())
