"""Results and history that are damaged: told in one line, or where the value would stand; never by a traceback."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from answer_tables import answered, commit, repository, results, write
from clones import linked, substitute
from forked import Forked

from src import promote, report
from src.core import paths
from src.core.errors import UserError
from src.figures.run import read_run
from src.params import load
from src.tracking import history
from src.tracking.lineage import Lineage, lines

TABLE, OTHER = answered(200, 0.8, seed=1), answered(200, 0.8, seed=2)
GARBAGE = ["{", "[]", "3", "[" * 99, "\xff", "stages: [train]", "stages: {train: 5}", "<<<<<<< HEAD"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(repository(tmp_path))
    results(tmp_path, TABLE, TABLE, "first model")
    return tmp_path


def spoiled(folder: Path, text: str, *damaged: Path) -> str:
    """A commit in which these files are damaged; those that lie here are whole again."""
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
    assert {state.commit for state in history.states(model)} == {"", whole}, "a lock that is not whole holds no model"


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


def test_what_others_write_into_a_branch_is_compared(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values that a float or JSON cannot take: dots alone, thousands of digits, dates, keys that are numbers."""
    monkeypatch.setattr(sys, "argv", ["report"])
    for before, after in ((".", ".."), ("1." + "1" * 5000, "2." + "1" * 5000), ("a", "b")):
        text = "data: {{source: {!r}, 1: 2020-01-0{}}}\nreport: {{margin: 1.0}}\n"
        write(paths.PARAMS, text.format(before, 1))
        commit(folder, "before")
        write(paths.PARAMS, text.format(after, 2))
        report.main()
        out = capsys.readouterr().out
        assert "data.source" in out
        assert "`2020-01-01` | `2020-01-02`" in out.replace('"', "")
    write(folder / "data/images.dvc", "outs: []\n")
    with pytest.raises(
        UserError, match=r"data/images\.dvc of the working tree cannot be read .*: run dvc add data/images"
    ):
        report.main()


def test_a_model_is_promoted_from_a_commit_that_can_be_read(folder: Path) -> None:
    model = history.states()[0].model_md5
    whole = commit(folder, "whole")
    assert promote._commit(model) == whole
    spoiled(folder, "stages: [", paths.PIPELINE)
    assert promote._commit(model) == whole


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All stages but the last, two epochs."""
    folder = linked(tmp_path_factory.mktemp("finished"))
    substitute(folder / "params.yaml", "epochs: 30", "epochs: 2 ")
    with Forked() as forked:
        for stage in ("download", "split", "train", "evaluate"):
            forked.run(folder, f"stages.{stage}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def replaced(old: str, new: str) -> Callable[[Path], object]:
    def harm(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return harm


def field(row: int, column: str, value: str) -> Callable[[Path], object]:
    """Another value in a row of a table, counted from 1, the header's; no name in these tables holds a comma."""

    def harm(path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        fields = lines[row - 1].split(",")
        fields[lines[0].split(",").index(column)] = value
        lines[row - 1] = ",".join(fields)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    return harm


def without_row(number: int) -> Callable[[Path], object]:
    def harm(path: Path) -> None:
        rows = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(rows[:number] + rows[number + 1 :]))

    return harm


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 3)


def arrays(**content: object) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **content)  # type: ignore[arg-type]


def single(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


HARM: list[tuple[Path, Callable[[Path], object], str]] = [
    (paths.METRICS, lambda path: path.write_text("[]"), "it holds no keys"),
    (paths.METRICS, replaced('"accuracy": ', '"accuracy": "9", "x": '), "accuracy: Input should be a valid number"),
    (paths.METRICS, replaced('"images"', '"image"'), "images: Field required"),
    (paths.METRICS, replaced('"brier": ', '"brier": 1e999, "b": '), "brier: Input should be a finite number"),
    (paths.TRAINING, replaced('"epochs": ', '"epochs": null, "e": '), "epochs: Input should be a valid integer"),
    (paths.TRAINING, replaced('"best_epoch": ', '"best_epoch": 99, "e": '), "training.json keeps epoch 99"),
    (paths.ENVIRONMENT, cut, "environment.json is damaged"),
    (paths.HISTORY, cut, "it ends amid a row"),
    (paths.HISTORY, replaced("lr\n", "rate\n"), "it has no column lr"),
    (paths.HISTORY, field(2, "epoch", "1.5"), "row 2 has the epoch '1.5'"),
    (paths.HISTORY, field(3, "train_loss", "<<<<"), "row 3 has the train_loss '<<<<"),
    (paths.HISTORY, field(2, "train_accuracy", "1e999"), "row 2 has the train_accuracy 'inf'"),
    (paths.HISTORY, lambda path: path.write_text("epoch\n"), "it has no column train_loss"),
    (paths.PREDICTIONS, without_row(1), "there are 359 test images"),
    (paths.PREDICTIONS, without_row(359), "there are 359 test images"),
    (paths.PREDICTIONS, field(2, "prediction", "12"), "dataset.json has other classes"),
    (paths.PREDICTIONS, field(2, "confidence", ""), "a number is missing"),
    (paths.PREDICTIONS, field(2, "confidence", "0,0,0"), "Expected 7 fields in line 2, saw 9|more fields"),
    (paths.PER_CLASS, without_row(3), "dataset.json has other classes"),
    (paths.CONFUSION, without_row(3), "predictions.csv has other predictions"),
    (paths.CONFUSION, field(2, "count", "-36"), "row 2 has the count '-36'"),
    (paths.CALIBRATION, replaced("bin_low", "low"), "it has no column bin_low"),
    (paths.ROBUSTNESS, field(2, "images", "many"), "row 2 has the images 'many'"),
    (paths.SNAPSHOTS, cut, "snapshots.npz is damaged"),
    (paths.SNAPSHOTS, single, "a single array"),
    (paths.SNAPSHOTS, arrays(epochs=np.arange(3), first=np.zeros((2, 4, 1, 3, 3))), "not kernels by epoch"),
    (paths.SNAPSHOTS, arrays(first=np.zeros((2, 4, 1, 3, 3))), "not kernels by epoch"),
    (paths.AUGMENTATION, arrays(pictures=np.zeros(3)), "it holds no images"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "harm", "told"), HARM, ids=lambda value: "" if callable(value) else str(value)[:40])
def test_results_that_are_damaged_or_do_not_belong_together_are_one_line(
    finished: Path, path: Path, harm: Callable[[Path], object], told: str
) -> None:
    good = path.read_bytes()
    harm(path)
    try:
        with pytest.raises(UserError, match=told) as caught:
            read_run(load().visualize)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(good)
    assert len(read_run(load().visualize).predictions) == 359
