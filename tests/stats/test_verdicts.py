"""Verdicts against scipy, scikit-learn and simulation."""

from functools import partial

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from benchmarks import verdicts as simulated
from src.stats.paired import swap_test
from src.stats.verdicts import ALPHA, Judgement, holm, judge, verdict, without_evidence

MARGIN = 0.01


def judged(images: int, broken: int, fixed: int, loss: float = 0.0, margin: float = MARGIN) -> Judgement:
    """Judge two models that are right on 80 % and differ by flips; the second one's losses are about `loss` greater."""
    draw = np.random.default_rng(0)
    labels, order = np.arange(images) % 10, draw.permutation(images)
    first = np.where(order < 0.8 * images, labels, (labels + 1) % 10)
    second = first.copy()
    lost, won = np.flatnonzero(first == labels)[:broken], np.flatnonzero(first != labels)[:fixed]
    second[lost], second[won] = (labels[lost] + 1) % 10, labels[won]
    losses = draw.exponential(size=images)
    return judge(labels, (first, second), (losses, losses + draw.normal(loss, 0.1, images)), margin)


def test_every_number_is_what_scikit_learn_and_scipy_say() -> None:
    labels, predicted, losses = simulated.pair(np.random.default_rng(1), 800, simulated.MANY)
    accuracy, loss, f1 = judge(labels, predicted, losses, MARGIN).differences
    was, now = (each == labels for each in predicted)
    flips = int((was & ~now).sum()), int((now & ~was).sum())
    assert accuracy.p == pytest.approx(stats.binomtest(flips[1], sum(flips)).pvalue)
    assert (accuracy.base, accuracy.head, accuracy.difference) == (was.mean(), now.mean(), now.mean() - was.mean())
    assert (f1.base, f1.head) == pytest.approx(tuple(f1_score(labels, each, average="macro") for each in predicted))
    expected = stats.ttest_rel(losses[1], losses[0])
    interval = expected.confidence_interval(0.95)
    assert (loss.low, loss.high) == pytest.approx((interval.low, interval.high))
    assert loss.p == pytest.approx(expected.pvalue, abs=0.02)  # two tests of the same
    assert [d.adjusted for d in (accuracy, loss, f1)] == holm([d.p for d in (accuracy, loss, f1)]).tolist()


def test_verdicts() -> None:
    assert judged(2_000, 80, 0).verdict == "worse"
    assert judged(2_000, 0, 80).verdict == "better"
    assert judged(2_000, 3, 3).verdict == "equivalent"
    assert judged(100, 1, 1).verdict == "no evidence"
    assert judged(100, 0, 0).verdict == "no evidence"
    assert judged(100, 0, 0, margin=0.05).verdict == "equivalent"
    assert judged(2_000, 12, 0, margin=0.05).verdict == "worse"  # which outweighs that it is within the margin
    found = judged(2_000, 0, 60, loss=0.1)
    assert [each.verdict for each in found.differences] == ["better", "worse", "better"]
    assert found.verdict == "worse"  # in one metric outweighs better in another


def test_one_image_is_no_evidence() -> None:
    labels, answers = np.array([1]), (np.array([1]), np.array([0]))
    found = judge(labels, answers, (np.array([0.1]), np.array([1.8])), MARGIN)
    assert (found.verdict, found.rarest) == ("no evidence", 1)
    assert found.differences[1].low is None


def test_holm_by_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.001, 0.9]) == pytest.approx([1.0, 0.003, 1.0])
    assert holm([np.nan, 0.001, 0.9]) == pytest.approx([np.nan, 0.003, 1.0], nan_ok=True)


def test_a_verdict_at_its_limits() -> None:
    assert (verdict(ALPHA, 1), verdict(1.001 * ALPHA, 1)) == ("better", "no evidence")
    assert without_evidence((-0.009, 0.009), MARGIN) == "equivalent"
    for interval in ((-0.02, 0.005), (-0.005, 0.02), (-MARGIN, 0.0), (0.0, MARGIN)):
        assert without_evidence(interval, MARGIN) == "no evidence"


@pytest.mark.parametrize("share", [0.002, 0.005, 0.03])
def test_so_many_images_as_are_asked_for_do_in_about_four_of_five_cases(share: float) -> None:
    assert 0.72 < simulated.shown(share, 500)[1] < 0.92


def test_swapped_at_random_two_models_hardly_ever_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few swaps are enough, since the level of the test holds for any number."""
    monkeypatch.setattr("src.stats.verdicts.swap_test", partial(swap_test, swaps=300))
    assert simulated.falsely_found(200, images=2_000) <= 18
