"""The report of real revisions: what `dvc repro` leaves after each kind of change, in one clone, each on its branch."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from clones import call, committed, copy_of_the_repository, git, set_params, substitute
from scipy import stats
from sklearn.metrics import f1_score

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs and no robustness; the results of that are the commit `main`."""
    folder = copy_of_the_repository(tmp_path_factory.mktemp("report") / "clone")
    undisturbed = {"shifts": 0, "noise": [], "salt_pepper": [], "fgsm": []}
    set_params(folder, {"train.epochs": 2} | {f"evaluate.robustness.{key}": undisturbed[key] for key in undisturbed})
    committed(folder)
    git(folder, "branch", "-M", "main")
    return results(folder, "results")


def results(folder: Path, message: str) -> Path:
    """Of what is compared; figures are not."""
    call(folder, "dvc", "repro", "--quiet", "evaluate")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return folder


def branch(clone: Path, name: str) -> Path:
    git(clone, "checkout", "-q", "main")
    git(clone, "checkout", "-qb", name)
    return clone


def report(clone: Path, *arguments: str) -> dict[str, Any]:
    found = json.loads(call(clone, "python", "-m", "src.report", "--json", *arguments))
    for side in ("base", "head"):  # never drawn here
        found[side]["stale"].pop("visualize", None)
    return dict(found)


def test_nothing_changed(clone: Path) -> None:
    found = report(clone)
    assert (found["verdict"], found["same_model"]) == ("equivalent", True)
    assert found["head"]["stale"] == {}
    assert found["parameters"] == found["data"] == found["code"] == found["environment"] == []
    assert "up to date" in call(clone, "dvc", "status", "--with-deps", "evaluate")


def test_another_rate_and_network(clone: Path) -> None:
    before = [pandas.read_csv(clone / "reports" / f"{name}predictions.csv") for name in ("validation_", "")]
    branch(clone, "network")
    substitute(clone / "params.yaml", "lr: 4.0e-3", "lr: 2.0e-4")
    substitute(clone / "params.yaml", "name: cifar_basic ", "name: mnist_convnet ")
    assert report(clone)["head"]["stale"] == {
        "train": ["params.yaml: model", "params.yaml: train"],
        "evaluate": ["params.yaml: model.name", "params.yaml: train"],
    }
    results(clone, "another network, and a lower rate")
    found = report(clone, "--base", "main", "--head", "network")
    assert (found["verdict"], found["same_model"], found["head"]["stale"]) == ("worse", False, {})
    assert found["judged"] == 2, "the models of both branches"
    assert [(change["name"], change["base"], change["head"]) for change in found["parameters"]] == [
        ("model.name", "cifar_basic", "mnist_convnet"),
        ("train.optimizer.lr", "0.004", "0.0002"),
    ]
    assert found["data"] == []
    assert [change["name"] for change in found["spent"]] == ["training_seconds", "peak_memory_gib", "latency_ms"]
    assert "parameters" in [c["name"] for c in found["metrics"]]
    for split, name, old in zip(("validation", "test"), ("validation_", ""), before, strict=True):
        new = pandas.read_csv(clone / "reports" / f"{name}predictions.csv")
        was, now = old["label"] == old["prediction"], new["label"] == new["prediction"]
        accuracy, loss, f1 = found[split]["comparison"]["differences"]
        assert accuracy["p"] == pytest.approx(stats.binomtest(int((was & ~now).sum()), int((was != now).sum())).pvalue)
        assert accuracy["difference"] == pytest.approx(now.mean() - was.mean())
        assert (f1["base"], f1["head"]) == pytest.approx(
            tuple(f1_score(t["label"], t["prediction"], average="macro") for t in (old, new))
        )
        assert loss["verdict"] == "worse"
    out = call(clone, "python", "-m", "src.report", "--base", "main", "--fail-on", "worse", fails=True)
    assert out.endswith("--fail-on worse: the model is worse\n")


def test_changed_code_without_dvc_repro_is_what_dvc_calls_changed(clone: Path) -> None:
    branch(clone, "code")
    call(clone, "dvc", "checkout", "--quiet", "--with-deps", "evaluate")
    with (clone / "src/training/loop.py").open("a") as file:
        file.write("\n# changed\n")
    git(clone, "commit", "-qam", "code alone")
    found = report(clone, "--base", "main", "--head", "code")
    assert found["head"]["stale"] == {"train": ["src/training"]}
    assert (found["same_model"], found["head"]["numbers_stale"]) == (True, True)
    assert found["code"] == [{"file": "src/training/loop.py", "added": 2, "removed": 0, "stages": ["train"]}]
    status = json.loads(call(clone, "dvc", "status", "--json", "--with-deps", "evaluate"))
    assert status == {"train": [{"changed deps": {"src/training": "modified"}}]}
    assert "by stale numbers" in call(clone, "python", "-m", "src.report", "--base", "main")
