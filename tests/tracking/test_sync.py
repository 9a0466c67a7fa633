"""The run as a view of files: complete whatever the store has of it already, once, and without double points."""

import getpass
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from clones import git
from mlflow.entities import Param
from tracking_samples import EPOCHS, ROOT, epoch, finished, lock, make_results

from src.core import paths
from src.core.errors import UserError
from src.core.files import digest, write_json
from src.models.classifier import Probabilities
from src.models.model_file import load
from src.tracking.live import live
from src.tracking.record import read_record
from src.tracking.runs import find_runs
from src.tracking.store import open_store
from src.tracking.sync import complete

if TYPE_CHECKING:
    from mlflow import MlflowClient


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tree")]


def content(client: "MlflowClient", run_id: str) -> dict[str, Any]:
    """All of a run but its id, its times and what no file holds."""
    run = client.get_run(run_id)
    assert run.inputs is not None
    curves = [key for key in run.data.metrics if key.startswith("epoch/")]
    folders = ("", "reports", "reports/figures")
    return {
        "status": run.info.status,
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key != "mlflow.user"},
        "metrics": {key: value for key, value in run.data.metrics.items() if not key.startswith("system/")},
        "curves": {key: [(p.step, p.value) for p in client.get_metric_history(run_id, key)] for key in curves},
        "inputs": [entry.dataset.digest for entry in run.inputs.dataset_inputs],
        "models": len(run.outputs.model_outputs) if run.outputs else 0,
        "files": sorted(file.path for folder in folders for file in client.list_artifacts(run_id, folder)),
    }


def runs() -> list[str]:
    return [run.info.run_id for run in find_runs(open_store())]


def train() -> None:
    """As the stage does; and then the later ones run, and DVC records all of them."""
    with live("session") as run:
        for number in range(1, EPOCHS + 1):
            run.log_epoch(epoch(number))
        make_results()
        run.log_model_md5(digest(paths.MODEL))


def test_a_run_is_the_same_from_a_live_training_and_from_files_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = paths.PARAMS.read_text(encoding="utf-8")
    weights = "\n    - ".join(["", *("1.23456789" for _ in range(1000))])  # too long for MLflow
    paths.PARAMS.write_text(text.replace("class_weights: ", f"class_weights:{weights} ", 1), encoding="utf-8")
    train()
    first = complete()
    client = open_store().client
    expected = content(client, first.run_id)
    assert expected["metrics"]["validation_accuracy"] == 0.75, "that of the kept epoch, not of the last"
    assert expected["metrics"]["test/accuracy"] == 0.7
    assert expected["metrics"]["robustness/shift_1_accuracy"] == 0.6
    assert expected["curves"]["epoch/validation_accuracy"][-1] == (EPOCHS, 0.8)
    assert expected["inputs"] == [digest(paths.DATASET)[:8]]
    assert expected["params"]["data.source"] == "https://example.org/mnist.tar"
    assert expected["params"]["train.loss.class_weights"] == "12,000 characters: see params.yaml"
    assert "1.23456789" in Path(client.download_artifacts(first.run_id, "params.yaml")).read_text()
    assert not any(key.startswith("visualize") for key in expected["params"])
    own = {key: value for key, value in expected["tags"].items() if not key.startswith("mlflow.")}
    assert own == {"model_md5": digest(paths.MODEL), "code": "unknown", "device": "cpu", "threads": "1"}
    assert expected["tags"]["mlflow.note.content"].startswith("test accuracy 70.00 %")
    assert expected["models"] == 1
    assert {"reports/figures/one.png", "params.yaml", "dvc.yaml", "requirements.lock", "digests.json"} <= {
        *expected["files"]
    }
    assert client.get_run(first.run_id).data.tags["mlflow.user"] == getpass.getuser()
    again = complete()
    assert (again.run_id, again.changed, first.changed) == (first.run_id, False, True)
    assert content(client, first.run_id) == expected

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///fresh.db")
    made = complete()
    assert (made.run_id != first.run_id, made.missing) == (True, [])
    assert content(open_store().client, made.run_id) == expected, "a fresh store"
    open_store().client.delete_run(made.run_id)
    assert content(open_store().client, complete().run_id) == expected, "a run that was deleted"


def test_a_training_whose_end_the_store_did_not_see_is_completed_in_its_own_run() -> None:
    """Even if a colleague has trained the same at the same time."""
    with live("session") as run:
        run.log_epoch(epoch(1))
    make_results()
    finished("session")
    (live_run,) = runs()
    store, record = open_store(), read_record()
    colleague = store.client.create_run(store.experiment_id, tags=dict(record.tags)).info.run_id
    store.client.log_batch(colleague, params=[Param(key, value) for key, value in record.start.params.items()])
    assert complete().run_id == live_run
    found = content(store.client, live_run)
    assert (found["status"], len(runs())) == ("FINISHED", 2)
    assert found["curves"]["epoch/train_loss"] == [(n, round(1 / n, 6)) for n in range(1, EPOCHS + 1)]
    assert "session" not in store.client.get_run(live_run).data.tags
    assert not list(Path(".cache/state").glob("*/")), "nobody needs its state any more"


def test_results_that_are_not_those_of_the_model_are_left_out_and_named() -> None:
    make_results()
    Path(paths.PAGE).write_text("of another model")
    done = complete()
    assert done.missing == [paths.PAGE]
    assert "reports/index.html" not in content(open_store().client, done.run_id)["files"]
    lock("train", "evaluate")
    complete(fresh="visualize")
    client = open_store().client
    assert Path(client.download_artifacts(done.run_id, "reports/index.html")).read_text() == "of another model"
    lock()
    write_json(paths.METRICS, {"images": 0})
    lock()
    assert (complete().run_id, complete().changed) == (done.run_id, False), "of its results the newest count"
    assert content(client, done.run_id)["tags"]["mlflow.note.content"] == "validation accuracy 75.00 %"
    (model,) = client.search_logged_models([done.experiment_id])
    client.delete_logged_model(model.model_id)
    client.set_tag(done.run_id, "mlflow.note.content", "blurred photos are wrong")
    assert complete().changed
    (again,) = client.search_logged_models([done.experiment_id])
    assert again.source_run_id == done.run_id
    assert content(client, done.run_id)["tags"]["mlflow.note.content"] == "blurred photos are wrong", "a user's own"
    for file in (paths.LOCK, paths.MODEL):
        file.unlink()
        with pytest.raises(UserError, match=r"(dvc\.lock does not hold|is missing)"):
            complete()


def test_other_parameters_that_give_the_same_model_have_a_run_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    make_results()
    first = complete()
    text = paths.PARAMS.read_text(encoding="utf-8")
    pinned = text.replace("sha256: ", f"sha256: {'a' * 64} ")  # which would fill the name
    paths.PARAMS.write_text(pinned.replace("accumulate: 1 ", "accumulate: 2 "), encoding="utf-8")
    assert not complete().missing, "a complete run is not looked at again"
    lock()
    second = complete()
    assert second.run_id != first.run_id
    assert (first.name, second.name) == (
        "cifar_basic · data.name=mnist, data.source=https://example.org/mnist.tar",
        "cifar_basic · data.name=mnist, data.source=https://example.org/mnist.tar, accumulate=2",
    )
    monkeypatch.setenv("DVC_EXP_NAME", "quiet-fox")
    paths.PARAMS.write_text(text.replace("epochs: 30", "epochs: 31"), encoding="utf-8")
    lock()
    assert complete().name.startswith("quiet-fox · cifar_basic · data.name=mnist, ")


def test_the_patch_leads_from_the_commit_to_the_code_that_ran(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".gitignore").write_text("*.db*\nmlartifacts/\n.cache\n")
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "start")
    Path("src/net.py").write_text("layers = 2\n")
    Path("src/new.py").write_text("added = True\n")
    train()
    client = open_store().client
    first = complete()
    tags = client.get_run(first.run_id).data.tags
    start = git(tree, "rev-parse", "HEAD").strip()
    assert (tags["code"], tags["mlflow.source.git.commit"]) == ("changed: code.diff", start)
    patch = Path(client.download_artifacts(first.run_id, "code.diff")).resolve()
    git(tree, "clone", "-q", str(tree), str(tmp_path / "again"))
    git(tmp_path / "again", "apply", str(patch))
    assert (tmp_path / "again/src/net.py").read_text() == "layers = 2\n"
    assert (tmp_path / "again/src/new.py").read_text() == "added = True\n"
    assert not (tmp_path / "again/reports").exists(), "results are not code"
    assert not git(tree, "diff", "--cached"), "the index is left alone"

    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "results")
    Path("src/net.py").write_text("layers = 3\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///fresh.db")
    run = open_store().client.get_run(complete().run_id)
    assert run.data.tags["mlflow.source.git.commit"] == git(tree, "rev-parse", "HEAD").strip()
    assert run.data.tags["code"] == "as committed", "the code at hand is another one"


LOAD = """
import json, sys
import numpy as np
import mlflow
uri, images, run = sys.argv[1:]
mlflow.set_tracking_uri(uri)
model = mlflow.MlflowClient().get_run(run).outputs.model_outputs[0].model_id
loaded = mlflow.pyfunc.load_model(f"models:/{model}")
batch = np.load(images)
parts = [loaded.predict(part) for part in np.split(batch, [1, 3, 20])]
np.save(f"{images}.npy", np.concatenate([loaded.predict(batch), np.concatenate(parts)]))
print(json.dumps(loaded.metadata.metadata["classes"]), loaded.metadata.signature.inputs.inputs[0].type)
assert not any(name.split(".")[0] == "src" for name in sys.modules)
"""


def test_the_logged_model_gives_the_pipelines_probabilities_in_a_clean_process(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_results("cifar_vgg")
    run = complete().run_id
    images = np.random.default_rng(1).integers(0, 256, (64, 12, 12, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    command = [sys.executable, "-Pc", LOAD, "sqlite:///mlflow.db", str(tmp_path / "images.npy"), run]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['["zero", "one", "two"] uint8']
    with torch.no_grad():
        expected = Probabilities(load(paths.MODEL)[0])(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "images.npy.npy"), np.concatenate([expected] * 2), atol=1e-5)
    (copy,) = tree.glob("mlartifacts/**/model.safetensors")
    assert digest(copy) == digest(paths.MODEL)
    assert json.loads(Path(open_store().client.download_artifacts(run, "digests.json")).read_text())["model"] == digest(
        paths.MODEL
    )
    assert tree != ROOT
