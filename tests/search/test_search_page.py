"""The tables, pictures and page of a search whose trials take no time."""

from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from tune_samples import plan, searched

from src.core.paths import TUNING
from src.search import best, confirm, page
from src.search.pictures import draw_all
from src.search.plan import Plan
from src.search.trial_results import result, trials_table

SPACE = {
    "train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.5},
    "model.activation": {"choices": [None, "relu", "gelu"]},
}


@pytest.fixture(autouse=True)
def elsewhere(root: Path) -> None:
    TUNING.mkdir(parents=True)


def confirmed(name: str, values: list[float], p: float) -> confirm.Confirmed:
    group = np.array(values)
    return confirm.Confirmed(name, {"model.dropout": 0.1}, group, float(group.mean()), 0.89, 0.99, p)


def shown(search: Plan, trials: list[FrozenTrial], rows: list[confirm.Confirmed]) -> tuple[list[str], str]:
    """Return the names of the pictures, and the page."""
    drawn = draw_all(TUNING, search, trials, rows)
    page.write_page(search, trials, rows, best.best_of(search, trials, rows)["verdict"], drawn)
    text = (TUNING / "index.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == len(drawn)
    return [path.stem for path in drawn], text.replace("\xa0", " ")


def test_every_picture_is_drawn_and_shown(root: Path) -> None:
    search = plan(16, space=SPACE)
    trials = searched(search)
    rows = [confirmed("trial 3", [0.95, 0.96, 0.94], 0.01), confirmed("present", [0.9, 0.91, 0.92], np.nan)]
    names, text = shown(search, trials, rows)
    assert names == ["confirmation", "history", "importance", "slice"]
    assert "<b>95.00 %</b><span>validation accuracy, mean of 3 other seeds</span><p>trial 3: dropout 0.1</p>" in text
    assert "{low: 0.0001, high: 0.1, log: true}" in text
    assert "why trials failed" not in text
    assert "Trial 3 is better than the present settings by 4.00 percentage points" in text
    (root / "again").mkdir()
    for path in draw_all(root / "again", search, trials, rows):
        assert path.read_bytes() == (TUNING / path.name).read_bytes(), "git keeps them: equal results, equal bytes"
    table = trials_table(trials, search)
    assert table.columns.tolist() == ["trial", "state", "validation_accuracy", "epochs", *SPACE, "reason"]
    found = best.best_of(search, trials, rows)
    assert found["winner"]["values"] == {"model.dropout": 0.1}
    assert found["winner"]["model_md5"] == result(trials[3])["model_md5"] or trials[3].state == TrialState.PRUNED


def test_few_trials_of_one_setting_have_pictures_too_and_a_failed_one_says_why() -> None:
    search = plan(4, space={"train.augment.flip": {"choices": [True, False]}}, sampler="random", pruner="none")
    failed = create_trial(state=TrialState.FAIL, user_attrs={"result": {"reason": "no <room>", "history": {}}})
    failed.number = 4
    names, text = shown(search, [*searched(search), failed], [])
    assert names == ["history", "slice"]
    assert "no &lt;room&gt;" in text
