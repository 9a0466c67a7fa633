"""The pictures and the page of a search whose trials take no time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tune_samples import EPOCHS, opened, plan, work

from src.search import confirm, figures
from src.search.gallery import draw_all, importances
from src.search.page import page
from src.search.plan import Search
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


def first_point(search: Search) -> Result:
    points = opened(None, search)[1]
    work(points)
    return finished(points.all())[0]


def confirmed(name: str, point: int | None, values: list[float], p: float) -> confirm.Confirmed:
    group = np.array(values)
    return confirm.Confirmed(name, point, {"model.dropout": 0.1}, group, float(group.mean()), 0.89, 0.99, p, p)


def test_every_picture_is_drawn_and_shown(tmp_path: Path) -> None:
    search = plan(16, space=SPACE)
    points = opened(None, search)[1]
    work(points)
    found = with_curves(finished(points.all()))
    rows = [confirmed("point 3", 3, [0.95, 0.96, 0.94], 0.01), confirmed("present", None, [0.9, 0.91, 0.92], np.nan)]
    drawn = draw_all(tmp_path, search, found, rows)
    names = [path.stem for path in drawn]
    assert names == [
        "confirmation", "history", "intermediate_values", "importance", "slice", "contour", "parallel_coordinates",
    ]  # fmt: skip
    page(tmp_path / "index.html", search, found, rows, drawn)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>95.00\xa0%</b><span>validation accuracy, mean of 3 other seeds</span><p>point 3: dropout 0.1</p>" in text
    assert "{low: 0.0001, high: 0.1, log: true}" in text
    assert "why points failed" not in text
    page(tmp_path / "failed.html", search, [*found, replace(found[0], state="failed", reason="no <room>")], [], drawn)
    assert "no &lt;room&gt;" in (tmp_path / "failed.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(drawn)
    assert "Point 3 is better than the present settings by 4.00 percentage points" in text.replace("\xa0", " ")
    again = tmp_path / "again"
    again.mkdir()
    for path in draw_all(again, search, found, rows):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), "git keeps them: equal results, equal bytes"
    figures.timeline(tmp_path / "timeline.png", found)
    with Image.open(tmp_path / "timeline.png") as picture:
        assert picture.info["Title"].startswith("When the points ran: 16 in")
    table = trials_table(found, search)
    assert table.columns.tolist() == ["point", "state", "validation_accuracy", "epochs", *SPACE, "reason"]


def test_pruned_points_say_what_does_not_work() -> None:
    """Six complete points are too few to tell by; fourteen more that were stopped for their learning rate are not."""
    search = plan(20)
    template = first_point(search)
    generator = np.random.default_rng(0)
    found = []
    for number in range(20):
        rate = 0.004 * (1 + 0.1 * number) if number < 6 else 10 ** generator.uniform(-4, -3)
        decay, dropout = 10 ** generator.uniform(-6, -2), generator.uniform(0, 0.5)
        state = "complete" if number < 6 else "pruned"
        values = {"train.optimizer.lr": rate, "train.optimizer.weight_decay": decay, "model.dropout": dropout}
        found.append(replace(template, number=number, state=state, value=0.9 + number / 100, values=values))
    shares = importances(search, found)
    assert max(shares, key=lambda key: shares[key]) == "train.optimizer.lr"
    assert importances(search, found[:9]) == {}


def test_a_search_of_few_equal_points_of_one_setting_has_pictures_too(tmp_path: Path) -> None:
    search = plan(4, space={"train.augment.flip": {"choices": [True, False]}}, sampler="random", pruner="none")
    points = opened(None, search)[1]
    work(points)
    names = [path.stem for path in draw_all(tmp_path, search, with_curves(finished(points.all())), [])]
    assert names == ["history", "intermediate_values", "slice"]
