"""Verdicts, flips and classes of two tables of answers, against scikit-learn, scipy and simulation."""

from functools import partial

import numpy as np
import pytest
from answer_tables import answered, table, with_flips
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score, log_loss
from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]

from benchmarks import verdicts
from src import comparison, significance
from src.comparison import Comparison, Difference, compare, obstacle

MARGIN = 0.01


def by_name(found: Comparison) -> dict[str, Difference]:
    return {each.name: each for each in found.differences}


def test_every_number_is_what_scikit_learn_and_scipy_say() -> None:
    base, head = answered(800, 0.80, seed=1), answered(800, 0.84, seed=2)
    found = compare(base, head, MARGIN)
    each = by_name(found)
    was, now = (t["label"] == t["prediction"] for t in (base, head))
    broken, fixed = int((was & ~now).sum()), int((now & ~was).sum())
    assert (len(found.broken), len(found.fixed)) == (broken, fixed)
    assert (each["accuracy"].base, each["accuracy"].head) == (was.mean(), now.mean())
    assert each["accuracy"].p == pytest.approx(stats.binomtest(fixed, broken + fixed).pvalue)
    for side, answers in (("base", base), ("head", head)):
        f1 = f1_score(answers["label"], answers["prediction"], average="macro")
        assert getattr(each["macro F1"], side) == pytest.approx(f1)
        correct = np.ones(len(answers), dtype=np.int64)
        probabilities = answers["label_probability"].to_numpy()
        pairs = np.column_stack([1 - probabilities, probabilities])
        assert getattr(each["log loss"], side) == pytest.approx(log_loss(correct, pairs, labels=[0, 1]))
    losses = [-np.log(answers["label_probability"]) for answers in (base, head)]
    expected = stats.ttest_rel(losses[1], losses[0])
    interval = expected.confidence_interval(0.95)
    assert (each["log loss"].low, each["log loss"].high) == pytest.approx((interval.low, interval.high))
    assert each["log loss"].p == pytest.approx(expected.pvalue, abs=0.02)  # two tests of the same
    adjusted = multipletests([d.p for d in found.differences], method="holm")[1]
    assert [d.adjusted for d in found.differences] == pytest.approx(adjusted.tolist())


def test_a_probability_written_as_zero_counts_as_half_its_last_decimal() -> None:
    base = answered(20, 0.5, seed=1)
    base.loc[0, "label_probability"] = 0.0
    assert comparison.log_loss(base)[0] == pytest.approx(-np.log(5e-7))
    assert np.isfinite(comparison.log_loss(base)).all()


def test_verdicts() -> None:
    base = answered(2_000, 0.8, seed=1)
    assert compare(base, with_flips(base, 80, 0), MARGIN).verdict == "worse"
    assert compare(base, with_flips(base, 0, 80), MARGIN).verdict == "better"
    assert compare(base, with_flips(base, 3, 3), MARGIN).verdict == "equivalent"
    small = base.head(100)
    assert compare(small, with_flips(small, 1, 1), MARGIN).verdict == "no evidence"
    assert compare(small, small, MARGIN).verdict == "no evidence"
    assert compare(small, small, 0.05).verdict == "equivalent"


def test_worse_in_one_metric_outweighs_better_in_another() -> None:
    base = answered(2_000, 0.8, seed=1)
    head = with_flips(base, 0, 60)
    head["label_probability"] = head["label_probability"] * 0.5  # more are right, and all with less confidence
    found = compare(base, head, MARGIN)
    assert by_name(found)["accuracy"].verdict == "better"
    assert (by_name(found)["log loss"].verdict, by_name(found)["log loss"].gain) == ("worse", -1)
    assert found.verdict == "worse"


def test_worse_outweighs_equivalent() -> None:
    base = answered(2_000, 0.8, seed=1)
    found = compare(base, with_flips(base, 12, 0), 0.05)
    assert found.equivalence[0] > -0.05
    assert found.verdict == "worse"


def test_flips_classes_and_confusions() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    strength = np.full((6, 3), 0.0)
    strength[np.arange(6), [0, 0, 1, 2, 2, 0]] = 3.0
    base = table(labels, strength)
    strength[[0, 3]] = [[0, 1, 0], [0, 9, 0]]
    strength[1] = [0, 5, 0]
    head = table(labels, strength)
    found = compare(base, head, MARGIN)
    # The image whose label lost most comes first.
    assert [(f.index, f.label, f.base, f.head) for f in found.broken] == [
        (1, "class 0", "class 0", "class 1"),
        (0, "class 0", "class 0", "class 1"),
    ]
    assert [(f.index, f.name) for f in found.fixed] == [(3, "images/00003.png")]
    assert [(c.name, c.images, c.base, c.head) for c in found.classes] == [("class 0", 2, 1, 0), ("class 1", 2, 0.5, 1)]
    assert [(c.label, c.prediction, c.base, c.head) for c in found.confusions] == [
        ("class 0", "class 1", 0, 2),
        ("class 1", "class 2", 1, 0),
    ]


def test_confusions_are_scikit_learns() -> None:
    base, head = answered(500, 0.6, seed=3), answered(500, 0.6, seed=4)
    old, new = (confusion_matrix(t["label"], t["prediction"]) for t in (base, head))
    found = {(c.label, c.prediction): c.head - c.base for c in compare(base, head, MARGIN).confusions}
    expected = {
        (f"class {row}", f"class {column}"): int(new[row, column] - old[row, column])
        for row, column in np.argwhere(old != new).tolist()
        if row != column
    }
    assert found == expected
    assert [abs(change) for change in found.values()] == sorted(map(abs, found.values()), reverse=True)


def test_one_image_can_be_compared() -> None:
    base, head = answered(1, 1, seed=1), answered(1, 0, seed=2)
    found = compare(base, head, MARGIN)
    assert found.verdict == "no evidence"
    assert np.isnan(by_name(found)["log loss"].low)


def test_what_cannot_be_paired_is_refused() -> None:
    base = answered(20, 0.8, seed=1)
    renamed, relabelled = base.copy(), base.copy()
    renamed.loc[3, "name"] = "another.png"
    relabelled["label"] = relabelled["label"].replace({"class 1": "class 9"})
    nothing = base.head(0)
    for head, reason in (
        (base.head(19), "20 images became 19"),
        (renamed, "other images, or in another order: 1 of 20 differ"),
        (relabelled, "other labels"),
        (nothing, "there are no images"),
    ):
        assert reason in (obstacle(base, head) or "")
        with pytest.raises(ValueError, match=reason):
            compare(base, head, MARGIN)
    assert obstacle(base, base) is None


@pytest.fixture
def fewer_swaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The level of the test holds for any number of swaps; `benchmarks.verdicts` takes all 10,000."""
    monkeypatch.setattr(significance, "swap_test", partial(significance.swap_test, swaps=300))


@pytest.mark.usefixtures("fewer_swaps")
def test_swapped_at_random_two_models_hardly_ever_differ() -> None:
    assert verdicts.falsely_found(200) <= 18


@pytest.mark.usefixtures("fewer_swaps")
def test_two_points_are_found_where_the_models_disagree_on_15_percent() -> None:
    assert verdicts.truly_found(40) >= 38
