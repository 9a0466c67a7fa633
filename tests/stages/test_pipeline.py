"""The whole pipeline in a clone of its own, with real DVC, real MLflow and few epochs. Slow, hence one clone for all.

The tests of this file run in order: each goes on from where the one before it left the clone.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import chaos
import mlflow
import pandas
import pytest
from clones import call, committed, copy_of_the_repository, git, set_params, substitute
from mlflow.entities import Run
from repro import Repro
from repro import runs as kept_runs

from src.core.dvc import read_lock, read_pipeline, written
from src.core.files import digest
from src.params import load
from src.tracking import identity

pytestmark = pytest.mark.slow

STAGES = ["download", "split", "train", "evaluate", "visualize"]


def stages_run(output: str) -> list[str]:
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without git at first, as a downloaded archive."""
    clone = copy_of_the_repository(tmp_path_factory.mktemp("pipeline") / "a clone")
    drawn = {"visualize.samples": 8, "visualize.mistakes": 4, "evaluate.robustness.images": 20}
    set_params(clone, {"train.epochs": 3, **drawn})
    return clone


def runs(clone: Path) -> list[Run]:
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow.db")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    return list(client.search_runs([experiment.experiment_id]))


def outputs(clone: Path) -> list[Path]:
    """List the files of the stages' `outs`, which DVC keeps; a folder's too."""
    stages = read_pipeline((clone / "dvc.yaml").read_bytes()).values()
    paths = [clone / path for stage in stages for path in written(stage, cached=True)]
    return [file for path in paths for file in ([path] if path.is_file() else path.iterdir())]


def linked(clone: Path, *folders: str) -> set[Path]:
    """Find the files that are one with an object of DVC's cache, and read-only."""
    objects = {path.stat().st_ino for path in (clone / ".dvc/cache/files/md5").glob("??/*")}
    files = (path for folder in folders for path in (clone / folder).rglob("*") if path.is_file())
    return {path for path in files if path.stat().st_ino in objects and path.stat().st_mode & 0o777 == 0o444}


def test_make_repro_runs_every_stage_also_without_git_and_says_what_came_out(clone: Path) -> None:
    """While a second one is told why it may not, and does no harm."""
    first = Repro(clone, command=("make", "repro"))
    assert first.reach("train"), first.output
    told = call(clone, "make", "repro", fails=True)
    assert any(f"(PID {process.pid}): " in told for process in first.stage_processes()), told
    assert stages_run(told) == []
    assert "Traceback" not in told
    assert first.process.wait() == 0, first.output
    output = first.output
    assert stages_run(output) == STAGES
    assert "stage 'tune" not in output, "a search is started by its own pipeline alone"
    metrics = json.loads((clone / "reports/metrics.json").read_text())
    measured = pandas.read_csv(clone / "reports/measured.csv").set_index("metric")
    assert measured["low"]["accuracy"] < metrics["accuracy"] < measured["high"]["accuracy"]
    assert f"test accuracy       {100 * metrics['accuracy']:.2f} %" in output
    assert "mlflow ui" in output
    assert "reports/figures" in output
    assert linked(clone, "data", "models", "reports") == set(outputs(clone)), "what DVC keeps takes no second place"
    assert {path.suffix for path in (clone / "reports/figures").iterdir()} == {".png"}
    assert not (clone / ".dvc/config.local").exists(), "that there is no git is true of this run alone"
    assert "mlflow.db" not in git(committed(clone), "ls-files")


def test_its_run_is_complete(clone: Path) -> None:
    """As chaos asks it of every pipeline; that each number is the file's is test_sync's."""
    ((name, status, steps),) = kept_runs(clone)
    assert (status, steps) == ("FINISHED", [1, 2, 3])
    assert {"params.yaml", "reports/figures/learning_curves.png"} <= chaos.logged(clone, name)
    (run,) = runs(clone)
    assert run.data.tags["model_md5"] in (clone / "dvc.lock").read_text()
    assert run.data.metrics["test/accuracy"] == json.loads((clone / "reports/metrics.json").read_text())["accuracy"]
    assert run.outputs is not None
    assert len(run.outputs.model_outputs) == 1


def test_a_second_time_nothing_runs(clone: Path, tell: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    output = call(clone, "make", "repro")
    assert stages_run(output) == []
    assert "the numbers are the committed ones" in output
    assert git(clone, "status", "--porcelain") == ""
    monkeypatch.chdir(clone)
    report = json.loads(tell("--json", "--base", "HEAD"))
    assert (report["verdict"], report["same_model"], report["head"]["stale"]) == ("equivalent", True, {})


@pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them")
def test_a_killed_training_ends_with_the_bits_of_the_undisturbed_one(clone: Path, tmp_path: Path) -> None:
    """`tests/helpers/chaos.py` kills in every stage, and often."""
    other = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(clone), str(other))
    (other / "dvc.lock").unlink()  # it has the model: the state of a training that just ended would not be needed
    chance = random.Random(os.urandom(8))
    plan = [("epochs", chance.choice(["`kill -9` of `dvc`", "SIGTERM to both"]), chance.uniform(0, 0.3))]
    rows: dict[str, chaos.Row] = {}
    assert [*chaos.series(other, plan, rows, [], "train")] == [], plan
    assert sum(row.stages.total() for row in rows.values()) == 1
    assert git(other, "status", "--porcelain") == " M dvc.lock\n", f"{plan}: reports/ are those of the clone"
    found, expected = (read_lock((root / "dvc.lock").read_bytes()) for root in (other, clone))
    assert found == {name: expected[name] for name in ("download", "split", "train")}, plan
    kept = kept_runs(other)
    assert {status for _, status, _ in kept} <= {"FINISHED", "KILLED"}
    assert [1, 2, 3] in [steps for _, status, steps in kept if status == "FINISHED"]
    assert [path for path in other.glob(".cache/*/*/*") if "downloads" not in path.parts] == []


def test_a_figures_parameter_and_its_code_rerun_only_the_figures(
    clone: Path, tell: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    substitute(clone / "params.yaml", "mistakes: 4", "mistakes: 5")
    with (clone / "src/figures/style.py").open("a") as file:
        file.write("\n# another look\n")
    monkeypatch.chdir(clone)
    assert list(json.loads(tell("--json", "--base", "HEAD"))["head"]["stale"]) == ["visualize"]
    assert stages_run(call(clone, "dvc", "repro")) == ["visualize"]
    git(clone, "checkout", "-q", "params.yaml", "src")


def test_a_fault_in_the_parameters_stands_above_dvcs_own_lines_and_loses_nothing(clone: Path) -> None:
    before = (clone / "models/model.safetensors").read_bytes()
    substitute(clone / "params.yaml", "lr: 4.0e-3", "lr: -4.0e-3")
    assert "error: params.yaml: train.optimizer.lr is -0.004" in call(clone, "make", "repro", fails=True)
    assert (clone / "models/model.safetensors").read_bytes() == before, "it was found before DVC removed anything"
    lines = call(clone, "dvc", "repro", fails=True).splitlines()
    fault = "error: params.yaml: train.optimizer.lr is -0.004: must be greater than 0"
    assert lines.index(fault) < min(number for number, line in enumerate(lines) if line.startswith("ERROR"))
    assert not any("Traceback" in line for line in lines)
    git(clone, "checkout", "-q", "params.yaml")


def test_what_was_computed_before_comes_back_without_computing(clone: Path) -> None:
    """The pictures and the model of earlier parameters, and what was replaced by hand."""
    model, images = clone / "models/model.safetensors", clone / "data/prepared/train/images-00000.npy"
    before = images.read_bytes()
    for path in (model, images, clone / "reports/metrics.json"):
        path.unlink(missing_ok=True)
    model.write_bytes(b"half a model")
    images.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert stages_run(call(clone, "dvc", "repro")) == []
    assert images.read_bytes() == before
    assert digest(model) in (clone / "dvc.lock").read_text()
    assert git(clone, "status", "--porcelain") == ""


def test_other_seeds_are_recorded_by_recipe(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone)
    recipe = identity.recipe_digest(load(), identity.data_digest())
    table = Path("reports/seeds.csv")
    table.write_text(f"seed,recipe,validation_accuracy,test_accuracy\n0,another,0.5,0.5\n1,{recipe},0.5,0.5\n")
    output = call(clone, "python", "-m", "src.seeds", "--runs", "2")
    assert "standard deviation of 3 seeds" in output
    assert "to 100.00 %" in output, "no interval goes beyond"
    seeds = pandas.read_csv(table)
    assert seeds["seed"].tolist() == [0, 1, 0, 2]
    assert seeds["recipe"].tolist() == ["another", *[recipe] * 3]
    training, metrics = (json.loads(Path(f"reports/{name}.json").read_text()) for name in ("training", "metrics"))
    assert seeds["validation_accuracy"][2] == training["validation_accuracy"]
    assert seeds["test_accuracy"][2] == metrics["accuracy"]
    table.unlink()


def test_an_experiment_in_a_temporary_folder_runs_what_changed_and_leaves_its_run_in_the_clone(clone: Path) -> None:
    before = len(runs(clone))
    changes = ("-S", "train.epochs=1", "-S", "train.optimizer.lr=1e-3")
    output = call(clone, "dvc", "exp", "run", "--temp", "--name", "tried", *changes)
    assert stages_run(output) == ["train", "evaluate", "visualize"]
    newest = max(runs(clone), key=lambda run: run.info.start_time)
    assert len(runs(clone)) == before + 1
    assert newest.data.params["train.epochs"] == "1"
    assert newest.info.run_name.startswith("tried · cifar_basic · epochs=1, optimizer.lr=0.001")
    assert newest.data.metrics["test/accuracy"] > 0
    assert (clone / "mlartifacts" / newest.info.run_id / "artifacts/reports/index.html").is_file()
    assert "macro_f1" in call(clone, "dvc", "metrics", "diff", "HEAD", "tried")
    plots = json.loads(call(clone, "dvc", "plots", "show", "--json"))
    assert {"loss", "accuracy", "reports/predictions.csv"} <= set(plots["data"])
    assert not [name for name in plots["data"] if name.endswith(".png")], "of one side only, they would hide the rest"


def test_the_report_on_that_experiment_names_what_was_changed(
    clone: Path, tell: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    tried = git(clone, "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/tried").strip()
    found = json.loads(tell("--json", "--base", "HEAD", "--head", tried))
    assert (found["verdict"], found["same_model"], found["head"]["stale"]) == ("worse", False, {})
    assert [(change["name"], change["base"], change["head"]) for change in found["parameters"]] == [
        ("train.epochs", "3", "1"),
        ("train.optimizer.lr", "0.004", "0.001"),
    ]
    assert found["data"] == []
    for split, file, name in (("validation", "training", "validation_accuracy"), ("test", "metrics", "accuracy")):
        before = json.loads(Path(f"reports/{file}.json").read_text())[name]
        after = json.loads(git(clone, "show", f"{tried}:reports/{file}.json"))[name]
        difference = found[split]["comparison"]["differences"][0]["difference"]
        assert difference == pytest.approx(after - before, abs=2e-6)


def test_another_machine_pulls_and_has_nothing_to_do(clone: Path, tmp_path: Path) -> None:
    call(clone, "dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    git(clone, "commit", "-qam", "remote")
    call(clone, "dvc", "push")
    other = tmp_path / "other"
    git(tmp_path, "clone", "-q", str(clone), str(other))
    call(other, "dvc", "pull")
    assert stages_run(call(other, "dvc", "repro")) == []
    assert git(other, "status", "--porcelain") == ""


def test_nothing_wrote_an_output_in_place(clone: Path) -> None:
    """It would write into DVC's cache; and root, who is not held off, learns of it here alone."""
    for path in (clone / ".dvc/cache/files/md5").glob("??/*"):
        assert digest(path) == path.parent.name + path.name.removesuffix(".dir"), path
