"""`python -m src.tune` in a clone of its own: real data, training, DVC and MLflow, made small.

The tests of this file run in order: each goes on from where the one before it left the clone.
"""

import json
import shutil
import signal
import time
from pathlib import Path

import mlflow
import pandas
import psutil
import pytest
from clones import call, committed, copy_of_the_repository, git, substitute
from forked import Forked
from repro import Repro

from src.core.files import digest

pytestmark = pytest.mark.slow

SEARCH = ("python", "-m", "src.tune")
TABLES = ("trials.csv", "confirmation.csv")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_of_the_repository(tmp_path_factory.mktemp("tune") / "clone")
    for old, new in {
        "limit: ": "limit: 200   ",
        "epochs: 30 ": "epochs: 3  ",
        "trials: 30 ": "trials: 6  ",
        "best: 3 ": "best: 1 ",
    }.items():
        substitute(folder / "params.yaml", old, new)
    return committed(folder)


def trials(clone: Path) -> pandas.DataFrame:
    return pandas.read_csv(clone / "reports/tuning/trials.csv")


def test_a_search_that_was_stopped_finds_what_it_would_have_found(clone: Path) -> None:
    output = call(clone, "env", "MLFLOW_TRACKING_URI=http://127.0.0.1:9", "python", "-m", "src.tune")
    assert output.count("warning: the next search adds the trials to MLflow: ") == 1
    expected = [(clone / "reports/tuning" / name).read_bytes() for name in TABLES]
    shutil.rmtree(clone / ".cache/searches")

    stopped = Repro(clone, command=SEARCH)
    assert stopped.prints("^trial "), stopped.output
    stopped.process.send_signal(signal.SIGINT)
    assert stopped.process.wait(timeout=120) == 130
    assert "stopping after the running trials" in stopped.output
    assert "stopped; start again to go on where it was" in stopped.output
    output = call(clone, *SEARCH)
    assert "are known already" in output
    assert [(clone / "reports/tuning" / name).read_bytes() for name in TABLES] == expected


def test_its_results_say_what_was_found_and_how_sure_that_is(clone: Path) -> None:
    best = json.loads((clone / "reports/tuning/best.json").read_text())
    complete = trials(clone)[lambda table: table["state"] == "complete"]
    assert best["best"]["accuracy"] == pytest.approx(complete["validation_accuracy"].max(), abs=1e-6)
    assert sum(best["trials"].values()) == 6
    confirmation = pandas.read_csv(clone / "reports/tuning/confirmation.csv")
    assert set(confirmation["setting"]) == {"present", f"trial {best['best']['trial']}"}
    assert confirmation["runs"].tolist() == [5, 5]
    assert best["winner"]["setting"] == confirmation["setting"][0]
    page = (clone / "reports/tuning/index.html").read_text()
    assert best["verdict"].replace(" %", "\N{NO-BREAK SPACE}%") in page
    assert "<script" not in page


def test_mlflow_has_one_parent_and_a_child_for_every_trial(clone: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.status == "FINISHED"
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    searched = [run for run in children if run.data.tags["tune.part"] == "trial"]
    assert sorted(run.data.tags["tune.trial"] for run in searched) == [str(number) for number in range(6)]
    assert len(children) == 6 + 10
    complete = trials(clone)[lambda table: table["state"] == "complete"]
    for trial, accuracy in complete[["trial", "validation_accuracy"]].itertuples(index=False):
        (run,) = [run for run in searched if run.data.tags["tune.trial"] == str(trial)]
        assert run.data.metrics["validation_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    kept = {file.name for file in (clone / "mlartifacts" / parent.info.run_id / "artifacts/tuning").iterdir()}
    assert {"index.html", "trials.csv"} <= kept


def test_applied_the_values_train_to_the_trials_weights(clone: Path, forked: Forked) -> None:
    best = json.loads((clone / "reports/tuning/best.json").read_text())["best"]
    before = (clone / "params.yaml").read_text().splitlines()
    apply = f"src.tune --apply {best['trial']}"
    assert "git diff shows it" in forked.run(clone, apply)
    after = (clone / "params.yaml").read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 3
    for old, new in changed:
        assert old.partition(":")[0] == new.partition(":")[0]
        assert old.partition("#")[2] == new.partition("#")[2]
    call(clone, "dvc", "repro", "train")
    assert digest(clone / "models/model.safetensors") == best["model_md5"]
    assert "has these values already" in forked.run(clone, apply)
    assert "trials.csv has no such trial" in forked.run(clone, "src.tune --apply 99", 2)
    git(clone, "checkout", "-q", "params.yaml")


def test_the_stage_goes_on_with_the_search(clone: Path) -> None:
    known = trials(clone)
    substitute(clone / "params.yaml", "trials: 6 ", "trials: 7 ")
    assert "6 of 7 are known already" in call(clone, "dvc", "repro", "tune/dvc.yaml")
    pandas.testing.assert_frame_equal(trials(clone)[:6], known)
    assert "Running stage" not in call(clone, "dvc", "repro", "tune/dvc.yaml")
    git(clone, "checkout", "-q", "params.yaml")


def test_two_workers_search_and_failed_trials_say_why(clone: Path, forked: Forked) -> None:
    substitute(clone / "params.yaml", "{low: 1.0e-4, high: 1.0e-1, log: true}", "{choices: [1.0e-3, 1.0e+30]}")
    substitute(clone / "params.yaml", "best: 1 ", "best: 0 ")
    output = forked.run(clone, "src.tune --workers 2")
    assert "with 2 workers, the next search may find other trials" in output
    table = trials(clone)
    assert table["trial"].tolist() == list(range(6))
    failed = table[table["state"] == "failed"]
    assert set(failed["train.optimizer.lr"]) == {1e30}
    assert failed["reason"].str.contains("loss became").all()
    git(clone, "checkout", "-q", "params.yaml")


def test_ctrl_c_twice_stops_at_once_with_its_worker(clone: Path) -> None:
    substitute(clone / "params.yaml", "epochs: 3  ", "epochs: 5000")
    search = Repro(clone, command=SEARCH)
    assert search.prints("^search "), search.output
    while not psutil.Process(search.process.pid).children():
        time.sleep(0.1)
    time.sleep(1)
    for _ in range(2):
        search.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert search.process.wait(timeout=60) == 130
    search.gone()
    assert "error: interrupted" in search.output
    assert "Traceback" not in search.output
    git(clone, "checkout", "-q", "params.yaml")
