"""The pictures and the page of a search whose trials take no time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tune_samples import EPOCHS, opened, plan, work

from src.search import confirm, figures
from src.search.gallery import draw_all
from src.search.page import page
from src.search.results import Result, finished, trials_table

SPACE = {
    "train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.5},
    "model.activation": {"choices": [None, "relu", "gelu"]},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def with_curves(found: list[Result]) -> list[Result]:
    """As trials record them."""
    shown = []
    for result in found:
        curve = np.linspace(0.1, result.value or 0.0, 3 + result.number % EPOCHS).tolist()
        shown.append(replace(result, curves={"train_loss": curve, "validation_accuracy": curve}))
    return shown


def confirmed(name: str, point: int | None, values: list[float], p: float) -> confirm.Confirmed:
    group = np.array(values)
    return confirm.Confirmed(name, point, {"model.dropout": 0.1}, group, float(group.mean()), 0.89, 0.99, p, p)


def test_every_picture_is_drawn_and_shown(tmp_path: Path) -> None:
    search = plan(16, space=SPACE)
    storage, points = opened(None, search)
    work(points)
    found = with_curves(finished(points.all()))
    rows = [confirmed("point 3", 3, [0.95, 0.96, 0.94], 0.01), confirmed("present", None, [0.9, 0.91, 0.92], np.nan)]
    drawn = draw_all(tmp_path, storage, search, found, rows)
    names = [path.stem for path in drawn]
    assert names == [
        "confirmation", "history", "intermediate_values", "importance", "slice", "contour", "parallel_coordinates",
    ]  # fmt: skip
    page(tmp_path / "index.html", search, found, rows, drawn)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(drawn)
    assert "Point 3 is better than the present settings by 4.00 percentage points" in text.replace("\xa0", " ")
    again = tmp_path / "again"
    again.mkdir()
    for path in draw_all(again, storage, search, found, rows):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), "git keeps them: equal results, equal bytes"
    figures.timeline(tmp_path / "timeline.png", found)
    with Image.open(tmp_path / "timeline.png") as picture:
        assert picture.info["Title"].startswith("When the points ran: 16 in")
    table = trials_table(found, search)
    assert table.columns.tolist() == ["point", "state", "validation_accuracy", "epochs", *SPACE, "reason"]


def test_a_search_of_few_equal_points_of_one_setting_has_pictures_too(tmp_path: Path) -> None:
    search = plan(4, space={"train.augment.flip": {"choices": [True, False]}}, sampler="random", pruner="none")
    storage, points = opened(None, search)
    work(points)
    names = [path.stem for path in draw_all(tmp_path, storage, search, with_curves(finished(points.all())), [])]
    assert names == ["history", "intermediate_values", "slice"]
