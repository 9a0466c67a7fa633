"""Commits whose files are damaged: one line, never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from answer_tables import TEST, VALIDATION, commit, results, with_flips

from src.core import paths
from src.core.errors import UserError
from src.review.answers import read_answers
from src.review.revision import Revision
from src.tracking import history
from src.tracking.lineage import Lineage, lines

ANSWERS = "index,name,label,prediction,label_probability\n0,x,a,b,"
SHAPES = [
    (paths.LOCK, "<<<<<<< HEAD"),
    (paths.LOCK, "stages: {a: {}}"),
    (paths.LOCK, "stages: {a: {cmd: b, outs: [c]}}"),
    (paths.LOCK, "stages: {a: {cmd: b, outs: [{path: models/model.safetensors, md5: ../../x](y}]}}"),
    (paths.LOCK, "stages: {a: {cmd: b, params: {params.yaml: [seed]}}}"),
    (paths.PIPELINE, "stages: {a: 5}"),
    (paths.PIPELINE, "stages: {1: {cmd: b}}"),
    (paths.PIPELINE, 'stages: {a: {cmd: b, deps: ["c\\0"]}}'),
    (paths.PIPELINE, "stages: {a: {cmd: b, outs: [{}]}}"),
    (paths.PARAMS, "a: &a [*a]"),
    (paths.PARAMS, "[]"),
    (paths.METRICS, "\xff"),
    (paths.TRAINING, f'{{"parameters": {"9" * 400}}}'),
    (paths.VALIDATION_PREDICTIONS, f"{ANSWERS}0.5\n<<<<<<< HEAD\n"),
    (paths.VALIDATION_PREDICTIONS, f"{ANSWERS}word\n"),
    (paths.VALIDATION_PREDICTIONS, f"{ANSWERS}1.5\n"),
    (paths.VALIDATION_PREDICTIONS, "index,name\n0,a\n"),
]


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("path", "text"), SHAPES, ids=lambda value: str(value)[:40])
def test_a_damaged_file_is_one_line_that_names_it(path: Path, text: str) -> None:
    def read(revision: Revision) -> None:
        assert revision.params | revision.pipeline | revision.lock | revision.numbers == {}
        read_answers(revision, paths.VALIDATION_PREDICTIONS)

    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=rf"^{path} of the tree (is not|is damaged|has)[^\n]*: [^\n]*$"):
        read(Revision("the tree", None))


def test_a_damaged_side_is_refused_and_a_damaged_commit_between_left_out(repo: Path, tell: Any) -> None:
    paths.METRICS.write_text("{")
    for arguments in ((), ("--exact", "--base", commit(repo, "damaged"))):
        with pytest.raises(UserError, match=rf"{paths.METRICS} of \w+.* is not a JSON object"):
            tell(*arguments)
    results(repo, with_flips(VALIDATION, 3, 3), TEST, "second model")
    paths.VALIDATION_PREDICTIONS.write_text("<<<<<<< HEAD")
    commit(repo, "conflicts")
    results(repo, with_flips(VALIDATION, 3, 3), TEST, "second model")
    commit(repo, "repaired")
    found = json.loads(tell("--exact", "--base", "main~3", "--json"))
    assert [each["name"][10:] for each in found["commits"][1:]] == ["repaired"]


def test_without_a_repository_gits_own_reason_is_told(repo: Path, tell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(repo / "nowhere"))
    with pytest.raises(UserError, match="git rev-parse: fatal: not a git repository"):
        tell()


def test_an_old_commit_that_is_damaged_has_a_lineage_all_the_same(repo: Path) -> None:
    paths.METRICS.write_text("{")
    state = history.state_in(paths.LOCK.read_bytes(), commit(repo, "damaged metrics"))
    assert state is not None
    told = [text for label, text in lines(Lineage(state.model_md5, [state], [])) if label == "metrics"]
    assert any(text.startswith("validation_accuracy 0.") for text in told)
    assert any(text.startswith(f"{paths.METRICS} of the commit cannot be read: ") for text in told)
    paths.LOCK.write_text("<<<<<<< HEAD")
    damaged = commit(repo, "damaged lock")
    assert damaged not in {found.commit for found in history.states(state.model_md5)}
