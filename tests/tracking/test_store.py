"""Where runs are kept: made once, moved with the clone, in temporary folders, and what is told of it in trouble."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import mounts
import pytest
from tracking_samples import PASSWORD, ROOT, lock, make_results

from src.core import paths
from src.core.errors import UserError
from src.core.files import write_json
from src.tracking.lineage import trace
from src.tracking.runs import find_runs
from src.tracking.store import open_store
from src.tracking.sync import complete

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tree")]


def test_a_clone_that_was_moved_or_copied_has_its_artifacts_at_once(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `mlflow ui` there reads them: nothing of ours runs in between."""
    store = open_store()
    info = store.client.create_run(store.experiment_id).info
    run, files = info.run_id, store.artifacts(info.artifact_uri)
    files.log_artifact("dvc.yaml", "reports")
    files.log_artifacts("src", "code")
    tree.rename(tmp_path / "moved 100%")
    monkeypatch.chdir(tmp_path / "moved 100%")
    from mlflow import MlflowClient

    client = MlflowClient("sqlite:///mlflow.db")
    assert Path(client.download_artifacts(run, "reports/dvc.yaml")).read_bytes() == Path("dvc.yaml").read_bytes()
    assert [file.path for file in client.list_artifacts(run, "code")] == ["code/core", "code/net.py"]


def test_the_experiment_is_named_by_title_data_set_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def name() -> str:
        store = open_store()
        return str(store.client.get_experiment(store.experiment_id).name)

    assert name() == "mnist"
    text = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("title: ", "title: My photos", 1), encoding="utf-8")
    assert name() == "My photos"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the team")
    assert name() == "of the team"


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it() -> None:
    store = open_store()
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(UserError, match=f"mlflow experiments restore --experiment-id {store.experiment_id}"):
        assert open_store().experiment_id


def test_what_only_reads_makes_no_experiment_which_it_would_own_on_a_server() -> None:
    with pytest.raises(UserError, match="neither a run's id nor a model"):
        trace("0" * 32)
    client = open_store().client
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    with pytest.raises(UserError, match=r"^models/model\.safetensors is missing: run dvc pull, or dvc repro$"):
        trace(str(paths.MODEL))


FORK = """
import os, sys, traceback
import mlflow.store.tracking.sqlalchemy_store
from src.tracking.store import open_store

def start():
    if child := os.fork():
        return child
    try:
        store = open_store()
        store.client.create_run(store.experiment_id)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

sys.exit(any([os.waitpid(child, 0)[1] for child in [start() for _ in range(2)]]))
"""


def test_two_processes_at_once_on_a_new_store(tree: Path) -> None:
    # Forked once MLflow is imported: they arrive at the missing tables together.
    (tree / "mlflow.db").unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-Pc", FORK], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    store = open_store()
    assert len(store.client.search_runs([store.experiment_id])) == 2


def test_trouble_is_one_line_with_its_cause_and_soon(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_results()
    assert open_store().experiment_id
    with closing(sqlite3.connect("mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        with pytest.raises(UserError, match=r"MLflow at sqlite:///.*mlflow\.db: database is locked: end "):
            complete()
        assert time.monotonic() - started < 40
        other.rollback()
    (tree / "mlartifacts").mkdir()
    full = pytest.raises(UserError, match=r"MLflow at sqlite:.*No space left on device")
    with mounts.small_disk(tree / "mlartifacts", "4k"), full:
        complete()
    assert len(find_runs(open_store())) == 1
    assert complete().changed, "all of it, once there is space"
    write_json(paths.METRICS, {"images": 0})
    lock()
    with mounts.read_only(tree / "mlflow.db"):  # in another process: this one has the file open
        command = [sys.executable, "-Pc", "from src.tracking.sync import complete; complete()"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "UserError: MLflow at sqlite:" in done.stderr
    assert "attempt to write a readonly database" in done.stderr


def test_no_password_reaches_store_or_messages(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_results()
    complete()
    written = [path for path in tree.rglob("ml*/**/*") if path.is_file()] + [tree / "mlflow.db"]
    assert len(written) > 10
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes()]
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://joe:{PASSWORD}@127.0.0.1:9")
    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9: .*refused.*: start or ") as caught:
        assert open_store().experiment_id
    assert PASSWORD not in str(caught.value)
