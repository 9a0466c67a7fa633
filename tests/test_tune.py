"""`python -m src.tune` in a clone of its own: real data, training, storages, DVC and MLflow, made small.

The tests of this file run in order: each goes on from where the one before it left the clone.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import chaos
import mlflow
import pandas
import psutil
import pytest
from clones import call, committed, copy_of_the_repository, git, substitute
from ruamel.yaml import YAML

from src.core.files import digest
from src.core.paths import MODEL

SEARCH = ("python", "-m", "src.tune")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_of_the_repository(tmp_path_factory.mktemp("tune") / "clone")
    for old, new in {
        "limit: ": "limit: 200   ",
        "epochs: 30 ": "epochs: 4  ",
        "trials: 30 ": "trials: 6  ",
        "best: 3 ": "best: 1 ",
    }.items():
        substitute(folder / "params.yaml", old, new)
    return committed(folder)


def search(clone: Path, *arguments: str, until: str) -> "subprocess.Popen[str]":
    """A search that has printed a line in which `until` is found."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "src.tune", *arguments], cwd=clone, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"},
    )  # fmt: skip
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if re.search(until, line):
            return process
    raise AssertionError("".join(seen))


def trials(clone: Path) -> pandas.DataFrame:
    return pandas.read_csv(clone / "reports/tuning/trials.csv")


def best_study(clone: Path) -> str:
    return str(json.loads((clone / "reports/tuning/best.json").read_text())["study"])


def children(clone: Path, study: str) -> list[str]:
    """Numbers of the trials that MLflow has a run of."""
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = client.search_runs(
        [experiment.experiment_id], f"tags.`tune.study` = '{study}' and tags.`tune.part` = 'trial'"
    )
    return sorted(run.data.tags["tune.point"] for run in runs)


def test_a_killed_search_goes_on_and_finds_what_it_would_have_found(clone: Path) -> None:
    process = search(clone, until=r"^point +1 ")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    process = search(clone, until=r"^point +3 ")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130
    assert "stopping after the running trial" in output
    assert "stopped; start again to go on where it was" in output
    assert len(trials(clone)) in (4, 5, 6)

    output = call(clone, *SEARCH)
    assert "points are known already" in output
    resumed = trials(clone)
    assert resumed["point"].tolist() == list(range(6))
    attempts = pandas.read_csv(clone / "reports/tuning/attempts.csv")
    assert set(attempts["ended"]) <= {"complete", "pruned", "worker died"}

    uninterrupted = call(clone, *SEARCH, "--storage", f"sqlite:///{clone}/.cache/whole.db")
    assert "point   0" in uninterrupted
    pandas.testing.assert_frame_equal(trials(clone), resumed)


def test_its_results_say_what_was_found_and_how_sure_that_is(clone: Path) -> None:
    best = json.loads((clone / "reports/tuning/best.json").read_text())
    table = trials(clone)
    complete = table[table["state"] == "complete"]
    assert best["best"]["value"] == pytest.approx(complete["validation_accuracy"].max(), abs=1e-6)
    assert sum(best["points"].values()) == 6
    assert best["repeatable"]
    confirmation = pandas.read_csv(clone / "reports/tuning/confirmation.csv")
    assert set(confirmation["setting"]) == {"present", f"point {best['best']['point']}"}
    assert confirmation["runs"].tolist() == [5, 5]
    assert best["winner"]["setting"] == confirmation["setting"][0]
    page = (clone / "reports/tuning/index.html").read_text()
    assert best["winner"]["verdict"].replace(" %", "\N{NO-BREAK SPACE}%") in page
    assert "not that of the images themselves" in page
    assert "<script" not in page
    pictures = {path.stem for path in (clone / "reports/tuning").glob("*.png")}
    assert pictures == {
        "confirmation", "history", "intermediate_values", "slice", "contour", "parallel_coordinates",
    }  # fmt: skip


def test_mlflow_has_one_parent_and_a_child_for_every_trial(clone: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.status == "FINISHED"
    best = json.loads((clone / "reports/tuning/best.json").read_text())
    assert parent.data.tags["mlflow.note.content"] == best["winner"]["verdict"]
    assert parent.data.params["tune.space.model.dropout"] == "{low: 0.0, high: 0.5}"
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    searched = [run for run in children if run.data.tags["tune.part"] == "trial"]
    assert sorted(run.data.tags["tune.point"] for run in searched) == [str(number) for number in range(6)]
    assert len(children) == 6 + 10, "the other storage's search is the same study and adds none"
    table = trials(clone).set_index("point")
    for run in searched:
        row = table.loc[int(run.data.tags["tune.point"])]
        assert run.data.tags["tune.state"] == row["state"]
        assert float(run.data.params["train.optimizer.lr"]) == pytest.approx(row["train.optimizer.lr"])
        curve = client.get_metric_history(run.info.run_id, "validation_accuracy")
        assert [point.step for point in curve] == list(range(1, len(curve) + 1))
        assert len(curve) == row["epochs"]
    assert not any("model_md5" in run.data.tags for run in runs), "the pipeline would take it for a training"
    kept = {file.name for file in (clone / "mlartifacts" / parent.info.run_id / "artifacts/tuning").iterdir()}
    assert {"index.html", "timeline.png", "trials.csv"} <= kept


def test_a_changed_question_is_a_new_study_and_a_longer_search_is_not(clone: Path) -> None:
    name = best_study(clone)
    output = call(clone, "env", "MLFLOW_TRACKING_URI=http://127.0.0.1:9", *SEARCH, "--trials", "7")
    assert "warning: searching without MLflow: " in output
    assert "6 of 7 points are known already" in output
    assert len(trials(clone)) == 7
    assert best_study(clone) == name
    substitute(clone / "params.yaml", "batch_size: 32", "batch_size: 64")
    fault = call(clone, *SEARCH, "--apply", fails=True)
    assert f"best.json is of the search {name}, not of the present" in fault
    substitute(clone / "params.yaml", "batch_size: 64", "batch_size: 32")


def test_applied_the_values_train_to_the_winning_trials_weights(clone: Path) -> None:
    best = json.loads((clone / "reports/tuning/best.json").read_text())
    if best["winner"]["setting"] == "present":  # then there is nothing to write, and nothing to compare
        best["winner"] |= {"values": best["best"]["values"], "model_md5": best["best"]["model_md5"]}
        (clone / "reports/tuning/best.json").write_text(json.dumps(best))
    before = (clone / "params.yaml").read_text().splitlines()
    assert "git diff shows it" in call(clone, *SEARCH, "--apply")
    after = (clone / "params.yaml").read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 3
    for old, new in changed:
        assert old.partition(":")[0] == new.partition(":")[0]
        assert old.partition("#")[2] == new.partition("#")[2]
    call(clone, "dvc", "repro", "evaluate")  # the next test looks at what a plain repro would do next
    lock = YAML(typ="safe", pure=True).load(clone / "dvc.lock")
    outs = {out["path"]: out["md5"] for out in lock["stages"]["train"]["outs"]}
    assert outs["models/model.safetensors"] == best["winner"]["model_md5"]
    assert "has these values already" in call(clone, *SEARCH, "--apply")


def test_plain_repro_starts_no_search_and_the_stage_goes_on_with_one(clone: Path) -> None:
    assert "stage 'tune" not in call(clone, "dvc", "repro", "--dry")
    known = trials(clone)
    substitute(clone / "params.yaml", "trials: 6 ", "trials: 7 ")
    assert children(clone, best_study(clone)) == [str(number) for number in range(6)]
    output = call(clone, "dvc", "repro", "tune/dvc.yaml")
    assert children(clone, best_study(clone)) == [str(number) for number in range(7)], (
        "what MLflow missed is made up for"
    )
    assert "7 of 7 points are known already" in output
    pandas.testing.assert_frame_equal(trials(clone), known)
    assert "Running stage" not in call(clone, "dvc", "repro", "tune/dvc.yaml")
    git(clone, "checkout", "-q", "params.yaml")


def test_workers_lose_no_point_and_a_failed_trial_says_why(clone: Path) -> None:
    substitute(clone / "params.yaml", "{low: 1.0e-4, high: 1.0e-1, log: true}", "{choices: [1.0e-3, 1.0e+30]}")
    substitute(clone / "params.yaml", "sampler: tpe ", "sampler: random ")
    substitute(clone / "params.yaml", "best: 1 ", "best: 0 ")
    process = search(clone, "--workers", "2", until=r"^point ")
    children = psutil.Process(process.pid).children()
    [child for child in children if any("spawn_main" in word for word in child.cmdline())][-1].kill()
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    table = trials(clone)
    assert table["point"].tolist() == list(range(6))
    assert not json.loads((clone / "reports/tuning/best.json").read_text())["repeatable"]
    failed = table[table["state"] == "failed"]
    assert set(failed["train.optimizer.lr"]) == {1e30}
    assert failed["reason"].str.contains("loss became").all()
    assert (table["state"] != "failed").any()
    git(clone, "checkout", "-q", "params.yaml")


def test_ctrl_c_twice_stops_at_once(clone: Path) -> None:
    substitute(clone / "params.yaml", "epochs: 4  ", "epochs: 5000")
    process = search(clone, until="^search ")
    time.sleep(4)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "error: interrupted" in output
    assert "Traceback" not in output
    git(clone, "checkout", "-q", "params.yaml")


@pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them")
def test_a_search_ends_with_the_dvc_that_started_it(clone: Path) -> None:
    substitute(clone / "params.yaml", "epochs: 4  ", "epochs: 5000")
    dvc = chaos.Repro(clone, "tune/dvc.yaml")
    while not re.search("^search ", dvc.output, re.MULTILINE):
        assert dvc.process.poll() is None, dvc.output
        time.sleep(0.05)
    (stage,) = (process for process in dvc.stage_processes() if "src.tune" in process.cmdline())
    dvc.process.kill()
    dvc.process.wait()
    stage.wait(timeout=60)
    assert "error: ended by SIGTERM" in dvc.output
    git(clone, "checkout", "-q", "params.yaml")


@pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them")
def test_a_search_and_a_training_at_once_lose_nothing(clone: Path) -> None:
    """Both write one MLflow store. One that starts while `dvc repro` trains is told which process is in its way."""
    substitute(clone / "params.yaml", "seed: 0 ", "seed: 3 ")
    before = chaos.runs(clone)
    process = search(clone, "--trials", "1000", until=r"^point +1 ")
    training = chaos.Repro(clone, "--force", "--single-item", "train")
    assert training.reach("train"), training.output
    told = call(clone, *SEARCH, fails=True)
    assert f"(PID {training.process.pid}): " in told, told
    assert "error: dvc repro split failed: mend what it says above" in told
    assert training.process.wait() == 0, training.output
    assert process.poll() is None, "it searched all the time"
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert "not in MLflow" not in training.output + output

    points = trials(clone)["point"].tolist()
    assert points == list(range(len(points)))
    assert sorted(children(clone, best_study(clone)), key=int) == [str(point) for point in points]
    statuses = {status for _, status, _ in chaos.runs(clone)[len(before) :]}
    assert statuses == {"FINISHED", "KILLED"}, "the search's own run"
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    model = digest(clone / MODEL)
    (run,) = client.search_runs([experiment.experiment_id], f"tags.model_md5 = '{model}'")
    assert run.info.status == "FINISHED"
    curve = client.get_metric_history(run.info.run_id, "epoch/validation_accuracy")
    assert [point.step for point in curve] == chaos.epochs_told(training.output) == [1, 2, 3, 4]
    git(clone, "checkout", "-q", "params.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model.dropout: {", "model.droput: {", "unknown key model.droput: did you mean model.dropout?"),
        ("  validation: 0.2", "  validation: 0.0", "a search chooses by validation images, and there are none"),
    ],
)
def test_a_search_that_cannot_work_is_one_line_before_its_first_trial(
    clone: Path, old: str, new: str, message: str
) -> None:
    substitute(clone / "params.yaml", old, new)
    output = call(clone, *SEARCH, fails=True)
    git(clone, "checkout", "-q", "params.yaml")
    assert message in output
    assert "Traceback" not in output
    assert "point" not in output
