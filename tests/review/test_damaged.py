"""Commits whose files are damaged: one line, or a note in the place of the value; never a traceback."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answer_tables import answered, commit, repository, results

from src import report
from src.core import paths
from src.core.errors import UserError
from src.tracking import history
from src.tracking.lineage import Lineage, lines

TABLE, OTHER = answered(200, 0.8, seed=1), answered(200, 0.8, seed=2)
GARBAGE = ["{", "[]", "\xff", "stages: {train: 5}", "<<<<<<< HEAD"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(repository(tmp_path))
    results(tmp_path, TABLE, TABLE, "first model")
    return tmp_path


def spoiled(folder: Path, text: str, *damaged: Path) -> str:
    """A commit in which these files are damaged; those that lie here are good again."""
    good = {path: path.read_bytes() for path in damaged}
    for path in damaged:
        path.write_text(text, encoding="latin-1")
    made = commit(folder, "damaged")
    for path, content in good.items():
        path.write_bytes(content)
    return made


@pytest.mark.parametrize("text", GARBAGE)
def test_an_old_commit_that_is_damaged_is_shown_all_the_same(folder: Path, text: str) -> None:
    model = history.states()[0].model_md5
    whole = commit(folder, "whole")
    damaged = spoiled(folder, text, paths.METRICS, paths.PIPELINE)
    state = history.state_of(damaged)
    assert state is not None
    shown = list(lines(Lineage(model, [state], [])))
    told = [text for label, text in shown if label == "metrics"]
    assert any(text.startswith("validation_accuracy 0.") for text in told)
    assert any(text.startswith(f"{paths.METRICS} of the commit cannot be read: ") for text in told)
    spoiled(folder, text, paths.LOCK)
    assert {state.commit for state in history.states(model)} == {"", whole}, "a lock that is damaged holds no model"


@pytest.mark.parametrize("text", GARBAGE)
def test_a_report_on_a_base_that_is_damaged_says_so(
    folder: Path, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (paths.METRICS, paths.LOCK, paths.PIPELINE, paths.VALIDATION_PREDICTIONS)
    spoiled(folder, text, *names)
    results(folder, OTHER, OTHER, "second model")
    for form in ("--json", "--html"):
        monkeypatch.setattr(sys, "argv", ["report", form])
        report.main()
        out = capsys.readouterr().out
        if form == "--json":
            found = json.loads(out)
            assert found["validation"]["obstacle"] == f"the base has no {paths.VALIDATION_PREDICTIONS}"
            assert found["head"]["damaged"] == {}
            assert set(found["base"]["damaged"]) >= {path.as_posix() for path in names}
    assert "counts as missing, since it" in out
    commit(folder, "head")
    spoiled(folder, text, paths.METRICS)
    paths.METRICS.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=rf"{paths.METRICS} of the working tree is not a JSON object"):
        report.main()


def digits(text: str) -> str:
    return text.replace("{", '{"parameters": ' + "9" * 400 + ", ", 1)


# What its readers do not expect, though all of it can be read.
SHAPES: dict[str, tuple[Path, Callable[[str], str]]] = {
    "no command": (paths.LOCK, lambda text: text.replace("    cmd:", "    other:")),
    "no path": (paths.LOCK, lambda text: text.replace("- path: models/", "- other: models/")),
    "no outputs": (paths.LOCK, lambda _: "stages: {a: {cmd: b, outs: }}"),
    "outputs that are text": (paths.LOCK, lambda _: "stages: {a: {cmd: b, outs: [c]}}"),
    "a size in words": (paths.LOCK, lambda _: "stages: {a: {cmd: b, outs: [{path: data/raw, size: c}]}}"),
    "a whole number as md5": (paths.LOCK, lambda _: "stages: {a: {cmd: b, outs: [{path: data/raw, md5: 1}]}}"),
    "a list as parameters": (paths.LOCK, lambda _: "stages: {a: {cmd: b, params: {params.yaml: [seed]}}}"),
    "a number as inputs": (paths.PIPELINE, lambda _: "stages: {a: {cmd: b, deps: 3}}"),
    "a zero byte in a path": (paths.PIPELINE, lambda _: 'stages: {a: {cmd: b, deps: ["c\\0"]}}'),
    "an output without a name": (paths.PIPELINE, lambda _: "stages: {a: {cmd: b, outs: [{}]}}"),
    "a number as a stage's name": (paths.PIPELINE, lambda _: "stages: {1: {cmd: b}}"),
    "a list in itself": (paths.PARAMS, lambda text: f"{text}\nzz: &a [*a]\n"),
    "a map in itself": (paths.PARAMS, lambda text: f"{text}\nzz: &a {{b: *a}}\n"),
    "many digits of training": (paths.TRAINING, digits),
    "many digits of a test": (paths.METRICS, digits),
    "probabilities in words": (
        paths.VALIDATION_PREDICTIONS,
        lambda _: "index,name,label,prediction,label_probability\n0,a,b,b,c\n",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_of_another_shape_is_named(folder: Path, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, spoil = SHAPES[shape]
    spoiled(folder, spoil(path.read_text(encoding="utf-8") if path.exists() else "{}"), path)
    results(folder, OTHER, OTHER, "second model")
    commit(folder, "head")
    if path == paths.PARAMS:
        with pytest.raises(UserError, match=r"^params.yaml of HEAD~ .*: repair it, since it has the gate [^\n]*$"):
            reported("HEAD~", "HEAD", capsys)
    else:
        found = reported("HEAD~", "HEAD", capsys)
        assert list(found["base"]["damaged"]) == [path.as_posix()]
        assert "\n" not in found["base"]["damaged"][path.as_posix()]
    with pytest.raises(UserError, match=rf"{path} of HEAD~ .* (is not|is damaged|has no stages).*: [^\n]*$"):
        reported("HEAD", "HEAD~", capsys)


def test_stages_that_wait_for_each_other_are_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    circle = "stages: {a: {cmd: x, deps: [p], outs: [q]}, b: {cmd: y, deps: [q], outs: [p]}}"
    spoiled(folder, circle, paths.PIPELINE)
    assert set(reported("HEAD", "HEAD", capsys)["head"]["stale"]) == {"a", "b"}


def reported(base: str, head: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["report", "--json", "--exact", "--base", base, "--head", head])
        report.main()
    return dict(json.loads(capsys.readouterr().out))
