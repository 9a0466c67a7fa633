"""Paired tests and intervals against scipy, scikit-learn, brute force and simulation."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.sparse import csr_array
from sklearn.metrics import f1_score

from benchmarks.verdicts import FEW, coverage
from src.stats import paired
from src.stats.macro_f1 import class_counts, macro_f1, total
from src.stats.paired import macro_f1_interval, mcnemar, score_interval, swap_test, welch

Ints = NDArray[np.intp]


def score(broken: int, fixed: int, images: int, delta: float) -> float:
    """Tango's statistic with the likelihood maximised numerically instead of by its formula."""

    def minus_log_likelihood(share: float) -> float:
        terms = ((fixed, share + delta), (broken, share), (images - broken - fixed, 1 - 2 * share - delta))
        return -float(sum(count * np.log(max(p, 1e-300)) for count, p in terms if count))

    ends = (max(0.0, -delta), (1 - delta) / 2)
    share = float(optimize.minimize_scalar(minus_log_likelihood, bounds=ends, options={"xatol": 1e-12}).x)
    return float((fixed - broken - images * delta) / np.sqrt(images * (2 * share + delta * (1 - delta))))


@pytest.mark.parametrize(("broken", "fixed", "images"), [(12, 20, 359), (1, 0, 50), (2, 12, 50), (300, 350, 10_000)])
def test_the_ends_of_the_score_interval_are_where_the_score_test_just_rejects(
    broken: int, fixed: int, images: int
) -> None:
    low, high = score_interval(broken, fixed, images, 0.95)
    assert low < (fixed - broken) / images < high
    assert score(broken, fixed, images, low) == pytest.approx(1.959964, abs=1e-4)
    assert score(broken, fixed, images, high) == pytest.approx(-1.959964, abs=1e-4)
    assert score_interval(fixed, broken, images) == pytest.approx((-high, -low))


def test_the_score_interval_without_flips_is_not_empty_and_ends_inside() -> None:
    z = stats.norm.ppf(0.95)
    assert score_interval(0, 0, 359, 0.9)[1] == pytest.approx(z**2 / (359 + z**2))
    assert score_interval(5, 0, 5)[0] == -1
    assert score_interval(0, 5, 5)[1] == 1


def answers(images: int, classes: int, seed: int) -> tuple[Ints, Ints, Ints]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=images)
    first, second = (np.where(draw.random(images) < p, labels, draw.integers(classes, size=images)) for p in (0.6, 0.8))
    return labels, first, second


def test_macro_f1_is_scikit_learns() -> None:
    draw = np.random.default_rng(1)
    labels = draw.integers(6, size=300)
    predicted = np.where(draw.random(300) < 0.6, labels, draw.integers(7, size=300))  # class 6 has no images
    sums = total(class_counts(labels, predicted, 8))  # class 7 does not occur at all
    assert macro_f1(sums)[0] == pytest.approx(f1_score(labels, predicted, average="macro"))
    halves = [total(class_counts(labels[rows], predicted[rows], 8)) for rows in (slice(150), slice(150, None))]
    np.testing.assert_array_equal(sum(halves), sums)


def test_swapping_answers_is_the_enumeration_of_all_swaps(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = 3
    labels, first, second = answers(11, classes, 10)

    def difference(swapped: NDArray[np.bool_]) -> float:
        one, two = np.where(swapped, second, first), np.where(swapped, first, second)
        f1 = [f1_score(labels, each, average="macro", labels=np.union1d(labels, each)) for each in (one, two)]
        return float(f1[1] - f1[0])

    observed = abs(difference(np.zeros(11, dtype=np.bool_)))
    differ = np.flatnonzero(first != second)
    as_extreme = []
    for choice in product([False, True], repeat=len(differ)):
        swapped = np.zeros(11, dtype=np.bool_)
        swapped[differ] = choice
        as_extreme.append(abs(difference(swapped)) >= observed - 1e-9)
    before, after = (class_counts(labels, each, classes) for each in (first, second))
    (p,) = swap_test(before, after, lambda sums: macro_f1(sums)[:, None], swaps=40_000)
    exact = float(np.mean(as_extreme))
    assert 0.02 < exact < 0.5
    assert p == pytest.approx(exact, abs=4 * (exact / 40_000) ** 0.5)
    monkeypatch.setattr(paired, "AT_ONCE", 100_000)
    assert swap_test(before, after, lambda sums: macro_f1(sums)[:, None], swaps=40_000) == [p], "in several parts"


def test_equal_answers_are_no_evidence_at_all() -> None:
    same = csr_array(np.random.default_rng(3).random((20, 1)))
    assert swap_test(same, same, lambda sums: sums) == [1]
    assert mcnemar(0, 0) == 1


@pytest.mark.parametrize("wrong", [0, 1, 40], ids=["no image flips", "one flips", "all flip"])
def test_the_macro_f1_interval_is_never_empty_and_holds_what_was_seen(wrong: int) -> None:
    labels = np.arange(40) % 4
    second = np.where(np.arange(40) < wrong, (labels + 1) % 4, labels)
    low, high = macro_f1_interval(labels, labels, second)
    difference = f1_score(labels, second, average="macro") - 1
    assert low <= difference <= high
    assert high - low > 0.05
    assert -1 <= low <= high <= 1
    assert macro_f1_interval(labels, second, labels) == pytest.approx((-high, -low))


@pytest.mark.parametrize("rare", [0, 1, 2], ids=["of a label", "of the first", "of the second"])
def test_the_macro_f1_interval_is_that_of_the_infinitesimal_jackknife(rare: int) -> None:
    """By the slopes of scikit-learn's F1 in the weight of each image; added images weigh as much as their class."""
    given = answers(30, 3, seed=1)
    given[rare][0] = 3  # a class that nothing else mentions
    labels, first, second = given
    right, wrong = np.arange(4), np.full(4, 4)
    everything = np.concatenate([labels, *[right] * 4])
    weights = np.concatenate([np.ones(30), np.tile(np.bincount(labels, minlength=4) / 30, 4)])
    sides = (
        (np.union1d(labels, first), np.concatenate([first, right, right, wrong, wrong])),
        (np.union1d(labels, second), np.concatenate([second, right, wrong, right, wrong])),
    )

    def difference(weights: NDArray[np.float64]) -> float:
        f1 = [
            f1_score(everything, each, average="macro", labels=occurring, sample_weight=weights)
            for occurring, each in sides
        ]
        return float(f1[1] - f1[0])

    steps = 1e-6 * np.eye(len(weights))
    slopes = np.array([(difference(weights + step) - difference(weights - step)) / 2e-6 for step in steps])
    half = 1.959964 * np.sqrt((weights * slopes**2).sum())
    seen = difference(np.concatenate([np.ones(30), np.zeros(16)]))
    assert macro_f1_interval(labels, first, second) == pytest.approx((seen - half, seen + half), abs=1e-5)


def test_intervals_hold_the_truth_as_often_as_they_say_where_few_images_flip() -> None:
    assert min(coverage(50, FEW, 600)) > 0.935


def test_welch_is_scipys_and_says_where_there_is_nothing_to_test_with() -> None:
    one, none, some = np.array([0.9]), np.array([0.9, 0.9]), np.array([0.8, 0.7])
    for first, second in ((one, some), (some, one), (none, none - 0.1)):
        assert np.isnan(welch(first, second)).all()
    assert max(welch(none, some)[0], welch(some, none)[0]) < 1
    more = np.array([0.9, 0.91, 0.95])
    expected = stats.ttest_ind(more, some, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert welch(some, more) == pytest.approx((expected.pvalue, interval.low, interval.high))
