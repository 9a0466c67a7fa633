"""Tracking against a real MLflow store, a real git repository and real models, in temporary folders."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import mounts
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tracking_samples import PASSWORD, ROOT, make_model, make_tree, settings

from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import DATASET, MODEL
from src.tracking import attach, training_run
from src.tracking.store import EXPERIMENT, open_store, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RESNET = Path("models/resnet.safetensors")


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


class Trained(NamedTuple):
    root: Path
    client: "MlflowClient"
    run_id: str
    images: NDArray[np.uint8]
    expected: dict[str, NDArray[np.float32]]  # probabilities of `images` by the id of the logged model

    def run(self) -> "Run":
        return self.client.get_run(self.run_id)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A finished training of code that differs from its commit; another network's; an evaluation of the first."""
    root = tmp_path_factory.mktemp("a clone é")
    make_tree(root)
    git(root, "init", "-q")
    (root / ".gitignore").write_text("mlflow.db*\nmlartifacts/\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "start")
    (root / "src/net.py").write_text("layers = 2\n")
    (root / "src/new.py").write_text("added = True\n")
    (root / "reports").mkdir()
    (root / "reports/metrics.json").write_text("{}\n")
    images = np.random.default_rng(0).integers(0, 256, (64, 12, 12, 3), dtype=np.uint8)
    expected = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DVC_ROOT", raising=False)
        patch.setenv("DVC_STAGE", "train")
        patch.setenv("DVC_EXP_NAME", "quiet-fox")
        for path, name in ((RESNET, "resnet18"), (MODEL, "mnist_convnet")):
            probabilities = make_model(path, name).to(memory_format=torch.channels_last).train()
            with training_run(settings()) as run:
                for epoch in range(1, 4):
                    run.log_epoch(epoch, {"train_loss": 1 / epoch, "validation_accuracy": 0.9, "lr": 0.1})
                run.log_model(probabilities, images[:4], path)
            assert probabilities.training, "the caller's module is left as it was"
            with torch.no_grad():
                outputs = probabilities.eval()(torch.from_numpy(images)).numpy()
            client = open_store().client
            logged = client.get_run(run.id).outputs
            assert logged is not None
            expected[logged.model_outputs[0].model_id] = outputs
        with attach(MODEL, "evaluate", {"bins": 15, "tta": {"flip": True}}) as stage:
            stage.log_metrics({"test_accuracy": 0.75})
            stage.log_artifact(Path("reports"), "made")
        assert stage.id == run.id
        yield Trained(root, client, run.id, images, expected)


def test_the_run_holds_parameters_curves_and_identity(trained: Trained) -> None:
    run = trained.run()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "quiet-fox"
    found = run.data.params
    assert float(found["train.optimizer.lr"]) == settings().train.optimizer.lr
    assert found["train.patience"] == "null"
    assert found["data.source"] == "https://example.org/mnist.tar"
    assert not any(key.startswith("visualize") for key in found)
    curve = trained.client.get_metric_history(trained.run_id, "train_loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    tags = run.data.tags
    assert tags["base_commit"] == git(trained.root, "rev-parse", "HEAD").strip()
    assert tags["code_modified"] == "true"
    assert tags["model_md5"] == digest(trained.root / MODEL)
    assert tags["data_md5"] == digest(trained.root / DATASET)
    assert (tags["dvc.stage"], tags["dvc.experiment"]) == ("train", "quiet-fox")
    assert tags["version.torch"].startswith(torch.__version__.partition("+")[0])
    assert {"params_digest", "code_digest", "process.host", "process.pid", "process.started"} <= set(tags)


def test_the_patch_leads_from_the_commit_to_the_code(trained: Trained, tmp_path: Path) -> None:
    patch = trained.client.download_artifacts(trained.run_id, "code.diff", str(tmp_path))
    git(tmp_path, "clone", "-q", str(trained.root), "again")
    git(tmp_path / "again", "apply", patch)
    assert (tmp_path / "again/src/net.py").read_text() == "layers = 2\n"
    assert (tmp_path / "again/src/new.py").read_text() == "added = True\n"
    assert not (tmp_path / "again/reports").exists(), "results are not code"
    assert not git(trained.root, "diff", "--cached"), "the index is left alone"
    kept = {artifact.path for artifact in trained.client.list_artifacts(trained.run_id)}
    assert {"params.yaml", "dvc.yaml", "requirements.lock", "made"} <= kept


def test_the_data_set_is_an_input_of_the_run(trained: Trained) -> None:
    inputs = trained.run().inputs
    assert inputs is not None
    (entry,) = inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("mnist", digest(trained.root / DATASET))
    assert json.loads(entry.dataset.profile or "")["train_images"] == 3


def test_a_later_stage_adds_to_the_run_and_leaves_its_status(trained: Trained) -> None:
    run = trained.run()
    tags = run.data.tags
    assert run.data.metrics["test_accuracy"] == 0.75
    assert (tags["evaluate.bins"], tags["evaluate.tta.flip"]) == ("15", "true")
    with pytest.raises(ZeroDivisionError), attach(MODEL, "evaluate", {}):
        _ = 1 / 0
    after = trained.run()
    assert (after.info.status, after.info.end_time) == ("FINISHED", run.info.end_time)
    assert after.data.tags["evaluate.status"] == "failed"
    with attach(MODEL, "evaluate", {}):
        pass
    assert trained.run().data.tags["evaluate.status"] == "finished"


def test_attach_finds_the_newest_run_of_a_model_or_opens_one(trained: Trained) -> None:
    other = Path("models/other.safetensors")
    other.write_bytes(b"not trained here")
    with attach(other, "evaluate", {}) as elsewhere:
        pass
    opened = trained.client.get_run(elsewhere.id)
    assert opened.info.status == "FINISHED"
    assert opened.data.tags["training"] == "elsewhere"
    assert opened.data.tags["data_md5"] == digest(DATASET)
    with training_run(settings()) as newest:
        newest.set_tags({"model_md5": digest(other)})
    with attach(other, "evaluate", {}) as attached:
        pass
    assert attached.id == newest.id
    with pytest.raises(UserError, match="absent"), attach(Path("models/absent"), "evaluate", {}):
        pass


@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_training_that_ends_badly_says_so(trained: Trained, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), training_run(settings()) as run:
        raise error
    assert trained.client.get_run(run.id).info.status == status


LOAD = """
import json, sys
import numpy as np
import mlflow
uri, images, *models = sys.argv[1:]
mlflow.set_tracking_uri(uri)
for model in models:
    loaded = mlflow.pyfunc.load_model(f"models:/{model}")
    batch = np.load(images)
    parts = [loaded.predict(part) for part in np.split(batch, [1, 3, 20])]
    np.save(f"{images}.{model}.npy", np.concatenate([loaded.predict(batch), np.concatenate(parts)]))
    print(json.dumps(loaded.metadata.metadata["classes"]), loaded.metadata.signature.inputs.inputs[0].type)
assert not any(name.split(".")[0] == "src" for name in sys.modules)
"""


def test_the_logged_model_gives_the_pipelines_probabilities_in_a_clean_process(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    np.save(tmp_path / "images.npy", trained.images)
    command = [sys.executable, "-c", LOAD, tracking_uri(), str(tmp_path / "images.npy"), *trained.expected]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['["zero", "one", "two"] uint8'] * 2
    for model, expected in trained.expected.items():
        found = np.load(tmp_path / f"images.npy.{model}.npy")
        np.testing.assert_allclose(found, np.concatenate([expected, expected]), atol=1e-5)
    requirements = trained.client.download_artifacts(trained.run_id, "requirements.lock", str(tmp_path))
    assert Path(requirements).read_text() == "numpy==1\n"


class FixedBatch(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().reshape(2, -1)[:, :3].softmax(dim=1)


def test_a_model_that_serves_one_batch_size_only_is_refused(trained: Trained) -> None:
    with pytest.raises(ValueError, match="any number"), training_run(settings()) as run:
        run.log_model(FixedBatch(), trained.images[:2], MODEL)
    assert trained.client.get_run(run.id).info.status == "FAILED"
    assert "model_md5" not in trained.client.get_run(run.id).data.tags
    with pytest.raises(ValueError, match="at least 2"), training_run(settings()) as run:
        run.log_model(FixedBatch(), trained.images[:1], MODEL)


def test_no_password_reaches_store_or_messages(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [path for path in trained.root.rglob("ml*/**/*") if path.is_file()] + [trained.root / "mlflow.db"]
    assert len(kept) > 10
    assert not [path for path in kept if PASSWORD.encode() in path.read_bytes()]
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://joe:{PASSWORD}@127.0.0.1:9")
    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9: .*refused") as caught:
        open_store()
    assert PASSWORD not in str(caught.value)
    assert without_credentials(f"see postgresql://joe:{PASSWORD}@host/db.") == "see postgresql://host/db."


def test_a_value_too_long_for_mlflow_is_refused_not_shortened(trained: Trained) -> None:
    chosen = settings()
    split = chosen.split.model_copy(update={"groups": "x" * 7000})
    with (
        pytest.raises(UserError, match=r"split\.groups|6000"),
        training_run(chosen.model_copy(update={"split": split})),
    ):
        pass


def test_a_copied_clone_uses_its_own_artifacts(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.root, tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    run = open_store().client.get_run(trained.run_id)
    assert run.info.artifact_uri.startswith((tmp_path / "moved").as_uri())
    assert trained.run().info.artifact_uri.startswith(trained.root.as_uri())


def test_an_experiments_folder_logs_to_the_clone_also_without_git(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clone").mkdir()
    make_tree(tmp_path / "temporary")
    shutil.copytree(trained.root / "models", tmp_path / "temporary/models")
    monkeypatch.chdir(tmp_path / "temporary")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "clone"))
    with training_run(settings()) as run:
        pass
    shutil.rmtree(tmp_path / "temporary")
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.delenv("DVC_ROOT")
    client = open_store().client
    tags = client.get_run(run.id).data.tags
    assert (tags["base_commit"], tags["code_modified"]) == ("none", "unknown")
    assert {artifact.path for artifact in client.list_artifacts(run.id)} == {
        "params.yaml",
        "dvc.yaml",
        "requirements.lock",
    }


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

sys.exit(any([os.waitpid(child, 0)[1] for child in [start() for _ in range(4)]]))
"""


def test_four_processes_at_once_on_a_new_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    # Forked once MLflow is imported: they arrive at the missing tables together.
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    store = open_store()
    assert len(store.client.search_runs([store.experiment_id])) == 4
    experiment = store.client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert experiment.artifact_location == (tmp_path / "mlartifacts").as_uri()


ONE_RUN = """
from pathlib import Path
from src.core.errors import command
from src.tracking import training_run
from tracking_samples import settings

def main():
    with training_run(settings()) as run:
        run.log_epoch(1, {f"metric_{number}": 1.0 for number in range(50)})
        run.log_artifact(Path("big"), "reports")

command(main)
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What tracking reads of a repository, as current folder, with no store yet."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    make_tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run says, which ends well, where the store does not take it: at the first failure and at its end."""
    (tree / "src/core/errors.py").touch()  # by which a command knows that it stands in a root
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT}/tests")
    done = subprocess.run([sys.executable, "-Pc", ONE_RUN], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    first, last = done.stderr.splitlines()
    assert first.startswith("warning: MLflow at ")
    assert first.endswith(
        ": going on without it, the run is kept in .cache/outbox, sent at the next start or by python -m src.track sync"
    )
    assert last.startswith("not in MLflow yet: mnist cifar_basic: ")
    return [first, last]


def test_a_store_that_was_killed_while_it_was_made_is_made_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.db.utils._upgrade_db", killed)  # the tables are there, their version is not
        with pytest.raises(KeyboardInterrupt):
            open_store()
    assert not (tree / "mlflow.db").exists()
    assert open_store().client.search_runs(["0"]) == []
    assert not list(tree.glob("mlflow.db.new-*"))


def test_a_full_or_read_only_database_is_told_with_its_cause(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "big").touch()
    disk = tree / "disk"
    disk.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///disk/mlflow.db")
    with mounts.small_disk(disk, "3m"):
        open_store()
        mounts.fill(disk)
        for line in told(tree, monkeypatch):
            assert f"MLflow at sqlite:///{disk}/mlflow.db: database or disk is full" in line
        (disk / "filler").unlink()
        with mounts.read_only(disk / "mlflow.db"):
            for line in told(tree, monkeypatch):
                assert f"MLflow at sqlite:///{disk}/mlflow.db: attempt to write a readonly database" in line


@pytest.mark.parametrize(("size", "missing"), [("4k", "its beginning, epoch 1, 1 file"), ("64k", "1 file")])
def test_a_full_place_of_artifacts_is_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch, size: str, missing: str
) -> None:
    """Full for the first files, copied together, or for a later one alone."""
    place = tree / "mlartifacts"
    place.mkdir()
    (tree / "big").write_bytes(bytes(200_000))
    with mounts.small_disk(place, size):
        lines = told(tree, monkeypatch)
    assert all(f"{place}: the disk is full" in line for line in lines)
    assert lines[1].startswith(f"not in MLflow yet: mnist cifar_basic: {missing} (")


def test_a_run_that_gives_the_same_model_gets_the_results_of_the_earlier_one(tree: Path) -> None:
    """DVC runs neither evaluate nor visualize where the model is the one it was."""
    figures = tree / "reports/figures"
    figures.mkdir(parents=True)
    for file in ("history.csv", "metrics.json", "figures/one.png"):
        (tree / "reports" / file).write_text("first")
    MODEL.parent.mkdir()
    MODEL.write_bytes(b"weights")

    def trained_again() -> str:
        with training_run(settings()) as run:
            run.set_tags({"model_md5": digest(MODEL)})
            run.log_artifact(Path("reports/history.csv"), "reports")
        return run.id

    first = trained_again()
    assert "evaluate.run" not in open_store().client.get_run(first).data.tags, "nothing is there to carry over"
    with attach(MODEL, "evaluate", {"bins": 15}) as stage:
        stage.log_metrics({"test_accuracy": 0.75})
        stage.log_artifact(Path("reports/metrics.json"), "reports")
    with attach(MODEL, "visualize", {}) as stage:
        stage.log_artifact(figures, "reports")
    (tree / "reports/history.csv").write_text("again")

    client = open_store().client
    for _ in range(2):  # the third run takes from the second what that one took from the first
        newest = trained_again()
        data = client.get_run(newest).data
        assert data.metrics["test_accuracy"] == 0.75
        assert (data.tags["evaluate.bins"], data.tags["evaluate.status"]) == ("15", "finished")
        assert data.tags["evaluate.run"] == data.tags["visualize.run"] == first
        kept = Path(client.download_artifacts(newest, "reports"))
        assert (kept / "history.csv").read_text() == "again", "what training wrote is its own"
        assert (kept / "metrics.json").read_text() == (kept / "figures/one.png").read_text() == "first"
    with attach(MODEL, "evaluate", {"bins": 10}) as stage:
        stage.log_metrics({"test_accuracy": 0.8})
    data = client.get_run(newest).data
    assert (stage.id, data.tags["evaluate.run"], data.tags["evaluate.bins"]) == (newest, newest, "10")
    assert data.tags["visualize.run"] == first


def test_a_training_does_not_fail_where_the_earlier_results_are_gone(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    MODEL.parent.mkdir()
    MODEL.write_bytes(b"weights")
    with attach(MODEL, "evaluate", {}) as first:
        first.log_artifact(Path("dvc.yaml"), "reports")

    def gone(*_: object) -> None:
        raise OSError(28, "No space left on device", "reports")

    client = open_store().client
    monkeypatch.setattr(type(client), "download_artifacts", gone)
    with training_run(settings()) as run:
        run.set_tags({"model_md5": digest(MODEL)})
    assert client.get_run(run.id).info.status == "FINISHED"
    assert client.get_run(run.id).data.tags["evaluate.run"] == first.id
    assert "warning: the run lacks what an earlier one has of its model" in capsys.readouterr().err


def test_importing_tracking_imports_neither_mlflow_nor_torch() -> None:
    code = "import sys, src.tracking, src.summary; sys.exit(bool({'mlflow', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
