"""Commits whose files are damaged: one line, or a note in the place of the value; never a traceback."""

import json
import sys
from pathlib import Path

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
    names = (paths.METRICS, paths.LOCK, paths.PIPELINE, paths.PARAMS, paths.VALIDATION_PREDICTIONS)
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
            assert set(found["base"]["damaged"]) >= {path.as_posix() for path in names if path != paths.PARAMS}
    assert "counts as missing, since it" in out
    commit(folder, "head")
    spoiled(folder, text, paths.METRICS)
    paths.METRICS.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=rf"{paths.METRICS} of the working tree is not a JSON object"):
        report.main()
