"""Metrics, parameters, data, code and packages that differ, in repositories made by hand."""

import shutil
from pathlib import Path

import pytest
from answer_tables import TEST, VALIDATION, commit, lock, repository, results, with_flips, write
from clones import git, substitute

from src.review import changes
from src.review.revision import at, working_tree


def test_a_metric_has_an_arrow_and_no_verdict(repo: Path) -> None:
    results(repo, with_flips(VALIDATION, 100, 20), with_flips(TEST, 3, 5), "second model")
    found = {each["name"]: each for each in changes.metrics(at("HEAD"), working_tree())}
    assert found["validation_accuracy"]["difference"] == "−4.00 points ↓"
    assert found["test_accuracy"]["difference"] == "+0.40 points ↑"
    assert set(found) == {"validation_accuracy", "test_accuracy"}  # no ends of intervals, nothing that stayed
    write(repo / "reports/training.json", {"validation_accuracy": 0.5, "parameters": 94_054, "loss": 0.25})
    found = {each["name"]: each for each in changes.metrics(at("HEAD"), working_tree())}
    assert found["parameters"] == {
        "name": "parameters", "base": "94,154", "head": "94,054", "difference": "−100 ↓"
    }  # fmt: skip
    assert found["loss"] == {"name": "loss", "base": None, "head": "0.25"}
    assert found["epochs"] == {"name": "epochs", "base": "3", "head": None}


def test_parameters_data_packages_and_environment(repo: Path) -> None:
    substitute(repo / "params.yaml", "lr: 0.01", "lr: 0.1")
    substitute(repo / "params.yaml", "name: digits", "source: http://joe:secret@example.org/a.zip")
    results(repo, VALIDATION, TEST, "first model", images="other photos", environment="2.15.0")
    substitute(repo / "requirements.lock", "torch==2.14.1", "torch==2.15.0")
    substitute(repo / "requirements.lock", "numpy==2.3.0\n", "")
    sides = at("HEAD"), working_tree()
    assert changes.parameters(*sides) == [
        {"name": "data.name", "base": "digits", "head": None, "line": None},
        {"name": "train.lr", "base": "0.01", "head": "0.1", "line": 7},
        {"name": "data.source", "base": None, "head": "http://example.org/a.zip", "line": 3},
    ]
    assert {each["name"] for each in changes.data(*sides)} == {
        "data/raw",
        "data/prepared/dataset.json",
        "data/prepared/validation",
        "data/prepared/test",
    }
    assert changes.packages(*sides) == [
        {"name": "torch", "base": "2.14.1", "head": "2.15.0"},
        {"name": "numpy", "base": "2.3.0", "head": None},
    ]
    assert changes.environment(*sides) == [{"name": "torch", "base": "2.14.1", "head": "2.15.0"}]


def test_code_that_stages_use(repo: Path) -> None:
    write(repo / "src/a.py", "unused\n")
    substitute(repo / "dvc.yaml", "python -m stages.evaluate", "python -m stages.evaluate --more")
    write(repo / "src/models/net.py", "layers = 2\nmore = 3\n")
    (repo / "src/models/layers.py").write_bytes(b"\0binary")
    (repo / "src/.#a.py").symlink_to("me@here.1234")  # Emacs' mark of a file that is being edited
    expected = [
        {"file": "dvc.yaml", "added": 1, "removed": 1, "stages": ["evaluate"]},
        {"file": "src/models/layers.py", "added": None, "removed": None, "stages": ["train"]},
        {"file": "src/models/net.py", "added": 2, "removed": 1, "stages": ["train"]},
    ]
    found = changes.code(at("HEAD"), working_tree())
    assert found == expected
    (repo / "src/.#a.py").unlink()
    commit(repo, "code")
    assert changes.code(at("HEAD^"), at("HEAD")) == found


def test_a_repository_below_the_root_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = repository(tmp_path / "inner")
    shutil.rmtree(inner / ".git")
    git(tmp_path, "init", "-q", "-b", "main")
    results(inner, VALIDATION, TEST, "first model")
    commit(tmp_path, "base")
    monkeypatch.chdir(inner)
    write(inner / "src/models/net.py", "layers = 2\n")
    assert changes.code(at("HEAD"), working_tree()) == [
        {"file": "src/models/net.py", "added": 1, "removed": 1, "stages": ["train"]}
    ]
    lock(inner)
    commit(tmp_path, "inner")
    assert [each["file"] for each in changes.code(at("HEAD^"), at("HEAD"))] == ["src/models/net.py"]
