"""A model that was trained again, held against what seeds or pairs of answers show."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from answer_tables import TEST, VALIDATION, commit, lock, with_flips, write
from clones import DIGITS

from src.core.files import digest
from src.core.paths import PREDICTIONS, VALIDATION_PREDICTIONS
from src.params import load
from src.review.luck import findings
from src.review.revision import at
from src.stats.intervals import difference_of_two
from src.tracking.identity import recipe_digest


def beyond(validation: pandas.DataFrame, test: pandas.DataFrame = TEST) -> list[str]:
    again = {VALIDATION_PREDICTIONS: validation, PREDICTIONS: test}
    found = findings(at("HEAD"), {path: table.to_csv(index=False).encode() for path, table in again.items()})
    return [each.what for each in found if not each.lucky]


def test_pairs_of_answers_say_what_luck_is(repo: Path) -> None:
    assert beyond(VALIDATION) == []
    assert beyond(with_flips(VALIDATION, 12, 8)) == []
    assert beyond(with_flips(VALIDATION, 40, 8)) == ["validation accuracy"]
    assert beyond(with_flips(VALIDATION, 8, 40), with_flips(TEST, 0, 20)) == ["validation accuracy", "test accuracy"]
    assert beyond(VALIDATION.iloc[:-1]) == ["validation images"]
    # Log loss of every image a little higher, as after other rounding.
    assert beyond(VALIDATION.assign(label_probability=VALIDATION["label_probability"] * 0.999)) == []


def test_two_of_forty_patients_are_luck(repo: Path) -> None:
    patients = [f"patient {number // 50}" for number in range(len(VALIDATION))]
    assert beyond(with_flips(VALIDATION, 60, 0)) == ["validation accuracy"]
    assert beyond(with_flips(VALIDATION, 60, 0).assign(group=patients)) == []


def test_three_seeds_say_it_better(repo: Path) -> None:
    (repo / "params.yaml").write_text(DIGITS, encoding="utf-8")
    lock(repo)
    rows = {"seed": range(3), "recipe": recipe_digest(load(), digest(repo / "data/prepared/dataset.json"))}
    # Seeds that are all alike, as with few images, tell nothing: then pairs of answers do.
    for spread, flips, differing in ((0.01, (40, 8), 0), (0.0001, (40, 8), 1), (0.0, (12, 8), 0)):
        accuracies = 0.8 + spread * np.arange(3)
        write(
            repo / "reports/seeds.csv",
            pandas.DataFrame(rows | {"validation_accuracy": accuracies, "test_accuracy": accuracies}),
        )
        commit(repo, "seeds")
        assert beyond(with_flips(VALIDATION, *flips)) == differing * ["validation accuracy"]


def test_seeds_of_a_recipe_that_the_present_code_cannot_read_tell_nothing(repo: Path) -> None:
    rows = {"seed": range(3), "recipe": "0", "validation_accuracy": 0.8, "test_accuracy": 0.8}
    write(repo / "reports/seeds.csv", pandas.DataFrame(rows))
    (repo / "params.yaml").write_text("seed: 1\n", encoding="utf-8")
    commit(repo, "an older schema")
    assert beyond(with_flips(VALIDATION, 12, 8)) == []


def test_95_percent_of_pairs_lie_within_reach() -> None:
    draw = np.random.default_rng(0).normal(size=(4_000, 5))
    within = [abs(row[3] - row[4]) <= difference_of_two(row[:3]) for row in draw]
    assert np.mean(within) == pytest.approx(0.95, abs=0.015)
