"""The lines that are printed after the pipeline, in real repositories."""

import re
from pathlib import Path

import pytest
from answer_tables import write
from clones import git
from tracking_samples import enter_tree, lock, make_results

from src import summary
from src.core.errors import UserError
from src.core.paths import DATASET, ENVIRONMENT, FIGURES, LOCK, MEASURED, METRICS, MODEL, PARAMS, PER_CLASS, TRAINING
from src.params.writing import recipe
from src.tracking.store import open_store

ACCURACY = {"images": 360, "accuracy": 0.9833, "macro_f1": 0.98, "brier": 0.02, "loss": 0.05}
INTERVAL = "metric,value,low,high\naccuracy,0.9833,0.9641,0.9923\n"
CHOSEN = {"epochs": 40, "best_epoch": 37, "validation_accuracy": 0.9861, "validation_loss": 0.04, "parameters": 94154,
          "size_mib": 0.36}  # fmt: skip


def numbers() -> None:
    write(METRICS, ACCURACY)
    write(MEASURED, INTERVAL)
    write(PER_CLASS, "class,images\ncat,180\ndog,180\n")
    write(TRAINING, CHOSEN)


@pytest.fixture(autouse=True)
def tree(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["summary"])
    numbers()
    write(ENVIRONMENT, {"device": "cpu", "torch": "2.14.1"})
    write(PARAMS, "seed: 0\n")
    stage = f"{{cmd: x, params: [seed], outs: [{DATASET}, {METRICS}]}}"
    write(Path("dvc.yaml"), f"stages: {{train: {stage}}}\n")
    made = f"[{{path: {DATASET}}}, {{path: {METRICS}}}]"
    write(LOCK, f"stages: {{train: {{cmd: x, params: {{params.yaml: {{seed: 0}}}}, outs: {made}}}}}\n")
    write(Path("src/net.py"), "layers = 1\n")
    write(FIGURES / "one.png", "")
    write(MODEL, "weights")


def lines(capsys: pytest.CaptureFixture[str]) -> str:
    summary.main()
    return capsys.readouterr().out


def test_without_git_and_store(capsys: pytest.CaptureFixture[str]) -> None:
    out = lines(capsys)
    assert "98.33 %  (95 % interval 96.41 to 99.23 %, 360 images)" in out
    assert "98.61 %  (epoch 37 of 40)" in out
    assert "commit" not in out
    assert f"1 picture in {FIGURES}/" in out
    assert f"{LOCK} does not hold {MODEL}" in out


def test_a_model_that_may_be_no_better_than_one_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "luck" not in lines(capsys)
    write(PER_CLASS, "class,images\nbenign,350\nmalignant,10\n")
    assert "which may be luck: always answering 'benign' reaches 97.22 %" in lines(capsys)


def test_where_it_was_computed_and_why_not_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    write(ENVIRONMENT, {"device": "cpu", "precision": "float32", "threads": 1, "torch": "2.15.0"})
    assert re.search("(?m)^computed on +cpu, float32$", lines(capsys))
    write(PARAMS, recipe("digits"))
    line = "cpu, float32  (train.deterministic is portable; other recipes use CUDA where there is one)"
    assert re.search(f"(?m)^computed on +{re.escape(line)}$", lines(capsys))


def test_without_test_or_validation_images(capsys: pytest.CaptureFixture[str]) -> None:
    write(METRICS, {"images": 0})
    write(TRAINING, {**CHOSEN, "validation_accuracy": None})
    out = lines(capsys)
    assert "there are no test images" in out
    assert "there are no validation images" in out


def test_measured_numbers_in_conflict(capsys: pytest.CaptureFixture[str]) -> None:
    write(MEASURED, f"{INTERVAL}<<<<<<< HEAD\n")
    with pytest.raises(UserError, match=rf"^{MEASURED} has conflicts that git left: .*git checkout --theirs "):
        lines(capsys)


def test_changes_against_the_commit_and_their_cause(capsys: pytest.CaptureFixture[str]) -> None:
    here = Path()
    git(here, "init", "-q")
    git(here, "add", "src", "dvc.yaml", "params.yaml")
    git(here, "commit", "-q", "-m", "code")
    assert "no numbers are committed yet" in lines(capsys)
    git(here, "add", "reports")
    git(here, "commit", "-q", "-m", "results")
    assert "the numbers are the committed ones" in lines(capsys)

    write(METRICS, {"images": 360, "accuracy": 0.9806, "macro_f1": 0.97, "brier": 0.03, "loss": 0.06})
    out = lines(capsys)
    assert "accuracy 0.9833 → 0.9806" in out
    assert "and 1 more" in out
    assert "parameters, code and data do not differ" in out
    assert "it is the processor" in out

    write(ENVIRONMENT, {"device": "cpu", "torch": "2.15.0"})
    assert f"{ENVIRONMENT} explains it: torch 2.14.1 → 2.15.0" in lines(capsys)
    write(PARAMS, "seed: 0  # a comment\n")
    out = lines(capsys)
    assert "explains it" in out
    assert "stale" not in out
    write(PARAMS, "seed: 1\n")
    write(Path("src/net.py"), "layers = 2\n")
    out = lines(capsys)
    assert "what differs: params.yaml, code" in out
    assert re.search(r"(?m)^stale +train \(params.yaml: seed\): run dvc repro$", out)
    METRICS.write_text("{")
    git(here, "commit", "-qam", "damaged")
    write(METRICS, ACCURACY)
    assert f"{METRICS} of the commit is not a JSON object (" in lines(capsys)


def test_the_run_is_completed_and_named(
    tmp_path: Path, empty_store: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_tree(tmp_path / "clone", monkeypatch)
    Path("mlflow.db").write_bytes(empty_store)
    make_results()
    numbers()
    lock()
    out = lines(capsys)
    store = open_store()
    (run,) = store.client.search_runs([store.experiment_id])
    assert f"{run.info.run_name} ({run.info.run_id})" in out
    page = f"http://127.0.0.1:5000/#/experiments/{store.experiment_id}/runs/{run.info.run_id}"
    assert f"mlflow ui, then {page}" in out
    Path("mlruns").mkdir()
    assert f"mlflow ui --backend-store-uri 'sqlite:///mlflow.db', then {page}" in lines(capsys), "runs of old versions"
    write(MODEL, "weights")
    assert f"not in MLflow, or not complete: {LOCK} does not hold {MODEL}" in lines(capsys)
