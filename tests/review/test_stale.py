"""Stale results are found from git alone, in repositories made by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from answer_tables import commit, entry, lock, md5, write
from clones import git, substitute
from ruamel.yaml import YAML

from src.review.revision import at, working_tree
from src.review.stale import stale


def test_code_without_a_run(repo: Path) -> None:
    substitute(repo / "params.yaml", "lr: 0.01", "lr: 1e-2  # the same")
    assert stale(working_tree()) == stale(at("HEAD")) == {}
    write(repo / "src/models/net.py", "layers = 2\n")
    assert stale(working_tree()) == {"train": ["src/models"]}
    git(repo, "checkout", "-q", ".")
    write(repo / "src/models/untracked.py", "layers = 2\n")
    assert stale(working_tree()) == {"train": ["src/models"]}
    commit(repo, "code alone")
    assert stale(at("HEAD")) == {"train": ["src/models"]}


def test_parameters_commands_and_results_that_are_not_the_locks(repo: Path) -> None:
    substitute(repo / "params.yaml", "lr: 0.01", "lr: 0.02")
    substitute(repo / "dvc.yaml", "python -m stages.evaluate", "python -m stages.evaluate --more")
    write(repo / "reports/metrics.json", {"images": 500, "accuracy": 1.0})
    (repo / "reports/training.json").unlink()
    assert stale(working_tree()) == {
        "train": ["params.yaml: train", "reports/training.json is missing"],
        "evaluate": ["its command", "reports/metrics.json is not the one that it wrote"],
    }
    (repo / "dvc.lock").unlink()
    assert stale(working_tree()) == {name: ["it never ran"] for name in ("split", "train", "evaluate", "visualize")}


def test_a_stage_that_read_other_data_than_are_locked(repo: Path) -> None:
    text = (repo / "dvc.lock").read_text()
    old = entry(repo, "data/prepared/validation")["md5"]
    first = text.index(old)  # of split; train read the one that follows
    (repo / "dvc.lock").write_text(text[:first] + md5(b"new") + text[first + len(old) :])
    assert stale(working_tree()) == {"train": ["data/prepared/validation"]}


def test_photos_count_where_dvc_tracks_them(repo: Path) -> None:
    write(repo / "data/images/cat.1.jpg", "a photo that git ignores")
    lock(repo)
    (repo / "data/images/cat.1.jpg").unlink()  # as in a fresh clone
    assert stale(working_tree()) == {}
    write(repo / "data/images.dvc", {"outs": [{"md5": "0123.dir", "path": "images"}]})
    assert stale(working_tree()) == {"split": ["data/images"]}


@pytest.mark.parametrize("stage", ["split", "train", "evaluate"])
@pytest.mark.parametrize("forgotten", [False, True])  # by `dvc remove`, in dvc.lock too; in an editor, only in dvc.yaml
def test_results_of_a_stage_that_was_removed(repo: Path, tell: Any, stage: str, forgotten: bool) -> None:
    """Hold that answers that stay although their stage was removed pass no gate."""
    _remove(repo / "dvc.yaml", stage)
    if forgotten:
        _remove(repo / "dvc.lock", stage)
    report = json.loads(tell("--base", "HEAD", "--json"))
    assert report["failure"] == "its numbers are stale: run dvc repro"
    assert report["head"]["stale"]["dvc.yaml"][0].startswith("no stage writes ")


def test_a_stage_that_made_no_numbers_may_go(repo: Path, tell: Any) -> None:
    _remove(repo / "dvc.yaml", "visualize")
    assert json.loads(tell("--base", "HEAD", "--json"))["failure"] is None
    # Nor is another one needed that leaves no numbers behind; stale answers stay stale without it.
    _remove(repo / "dvc.yaml", "evaluate")
    (repo / "reports/metrics.json").unlink()
    assert json.loads(tell("--base", "HEAD", "--json"))["failure"] is None
    substitute(repo / "params.yaml", "lr: 0.01", "lr: 0.02")
    assert json.loads(tell("--base", "HEAD", "--json"))["failure"] == "its numbers are stale: run dvc repro"


def test_a_stage_may_write_the_folder_of_the_prepared_data(repo: Path) -> None:
    pipeline = YAML(typ="safe").load(repo / "dvc.yaml")
    pipeline["stages"]["split"]["outs"] = ["data/prepared"]
    write(repo / "dvc.yaml", pipeline)
    assert stale(working_tree()) == {"split": ["data/prepared is not in dvc.lock"]}


def test_data_of_a_removed_stage_are_those_that_dvc_tracks_now(repo: Path) -> None:
    _remove(repo / "dvc.yaml", "split")
    write(repo / "data/prepared/validation.dvc", {"outs": [{"md5": "0123.dir", "path": "validation"}]})
    assert stale(working_tree())["train"] == ["data/prepared/validation"]


def test_an_output_that_was_added_and_not_made(repo: Path) -> None:
    substitute(repo / "dvc.yaml", "models/model.safetensors", "models/model.onnx")
    substitute(repo / "dvc.yaml", "reports/environment.json", "reports/machine.json")
    write(repo / "reports/machine.json", "{}")
    reasons = ["models/model.onnx is not in dvc.lock", "reports/machine.json is not in dvc.lock"]
    assert stale(working_tree())["train"] == reasons


def test_git_needs_no_results_that_dvc_keeps_and_folders_are_results(repo: Path) -> None:
    kept, committed = repo / "reports/kept.csv", repo / "reports/committed"
    write(kept, "a,b\n")
    write(committed / "one.csv", "a,b\n")
    plots = [{"reports/predictions.csv": {"cache": False}}, "reports/kept.csv", {"reports/committed": {"cache": False}}]
    pipeline = YAML(typ="safe").load(repo / "dvc.yaml")
    pipeline["stages"]["evaluate"]["plots"] = plots
    write(repo / "dvc.yaml", pipeline)
    record = YAML(typ="safe").load(repo / "dvc.lock")
    record["stages"]["evaluate"]["outs"] += [entry(repo, "reports/kept.csv"), entry(repo, "reports/committed")]
    write(repo / "dvc.lock", record)
    write(repo / "reports/.gitignore", "/kept.csv\n")
    kept.unlink()
    assert stale(working_tree()) == {}
    write(committed / "one.csv", "other\n")
    assert stale(working_tree()) == {"evaluate": ["reports/committed is not the one that it wrote"]}


def test_stages_that_dvc_makes_of_one_entry_are_not_looked_at(repo: Path) -> None:
    """The lock file calls them extra@1, extra@2."""
    pipeline = YAML(typ="safe").load(repo / "dvc.yaml")
    pipeline["stages"]["extra"] = {"matrix": {"number": [1, 2]}, "cmd": "touch ${item.number}", "outs": ["x"]}
    write(repo / "dvc.yaml", pipeline)
    assert stale(working_tree()) == {}


def _remove(file: Path, stage: str) -> None:
    content = YAML(typ="safe").load(file)
    del content["stages"][stage]
    write(file, content)
