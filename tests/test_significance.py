"""Paired tests and intervals against scipy, scikit-learn, brute force and simulation."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.sparse import csr_array
from sklearn.metrics import f1_score
from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]

from src.significance import (
    accuracy_interval,
    holm,
    images_for_margin,
    macro_f1,
    macro_f1_interval,
    mcnemar,
    smallest_difference,
    swap_test,
    welch,
)
from src.statistics import Floats

Ints = NDArray[np.intp]


@pytest.mark.parametrize(("broken", "fixed"), [(0, 0), (0, 1), (3, 3), (2, 9), (120, 170)])
def test_mcnemar_is_the_binomial_test_of_the_flips(broken: int, fixed: int) -> None:
    expected = stats.binomtest(fixed, broken + fixed).pvalue if broken + fixed else 1
    assert mcnemar(broken, fixed) == pytest.approx(expected)


def score(broken: int, fixed: int, images: int, delta: float) -> float:
    """Tango's statistic with the likelihood maximised numerically instead of by its formula."""

    def minus_log_likelihood(share: float) -> float:
        terms = ((fixed, share + delta), (broken, share), (images - broken - fixed, 1 - 2 * share - delta))
        return -float(sum(count * np.log(max(p, 1e-300)) for count, p in terms if count))

    ends = (max(0.0, -delta), (1 - delta) / 2)
    share = float(optimize.minimize_scalar(minus_log_likelihood, bounds=ends, options={"xatol": 1e-12}).x)
    return float((fixed - broken - images * delta) / np.sqrt(images * (2 * share + delta * (1 - delta))))


@pytest.mark.parametrize(("broken", "fixed", "images"), [(12, 20, 359), (1, 0, 50), (2, 12, 50), (300, 350, 10_000)])
def test_the_ends_of_the_accuracy_interval_are_where_the_score_test_just_rejects(
    broken: int, fixed: int, images: int
) -> None:
    low, high = accuracy_interval(broken, fixed, images, 0.95)
    assert low < (fixed - broken) / images < high
    assert score(broken, fixed, images, low) == pytest.approx(1.959964, abs=1e-4)
    assert score(broken, fixed, images, high) == pytest.approx(-1.959964, abs=1e-4)
    assert accuracy_interval(fixed, broken, images) == pytest.approx((-high, -low))


def test_the_accuracy_interval_without_flips_is_not_empty_and_ends_inside() -> None:
    z = stats.norm.ppf(0.95)
    assert accuracy_interval(0, 0, 359, 0.9)[1] == pytest.approx(z**2 / (359 + z**2))
    assert accuracy_interval(5, 0, 5)[0] == -1
    assert accuracy_interval(0, 5, 5)[1] == 1


def test_the_accuracy_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    flips = draw.multinomial(100, [0.06, 0.10, 0.84], size=400)
    covered = 0
    for broken, fixed, _ in flips.tolist():
        low, high = accuracy_interval(broken, fixed, 100)
        covered += low <= 0.04 <= high
    assert 0.92 <= covered / 400 <= 0.98


def answers(images: int, classes: int, seed: int) -> tuple[Ints, Ints, Ints]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(classes, size=images)
    first, second = (np.where(draw.random(images) < p, labels, draw.integers(classes, size=images)) for p in (0.6, 0.8))
    return labels, first, second


def counts(labels: Ints, predicted: Ints, classes: int) -> Floats:
    """Sums (1, 2K) of what each answer adds: the prediction and the hit."""
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    return np.concatenate([np.bincount(predicted, minlength=classes), hits])[None].astype(np.float64)


def one_hot(labels: Ints, predicted: Ints, classes: int) -> csr_array:
    rows = [counts(label[None], guess[None], classes)[0] for label, guess in zip(labels, predicted, strict=True)]
    return csr_array(np.array(rows))


def test_macro_f1_is_scikit_learns() -> None:
    labels, first, _ = answers(300, 7, 1)
    sums = counts(labels, first, 7)
    labelled = np.bincount(labels, minlength=7)[None].astype(np.float64)
    expected = f1_score(labels, first, average="macro")
    assert macro_f1(labelled, sums[:, :7], sums[:, 7:])[0] == pytest.approx(expected)


def test_swapping_losses_is_scipys_exact_permutation_test() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.normal(0.4, size=12), draw.normal(1.0, size=12)
    (p,) = swap_test(csr_array(first[:, None]), csr_array(second[:, None]), lambda sums: sums / 12, swaps=40_000)
    exact = stats.permutation_test((first, second), lambda a, b: a.mean() - b.mean(), permutation_type="samples").pvalue
    assert p == pytest.approx(float(exact), abs=4 * float(exact / 40_000) ** 0.5)


def test_swapping_answers_is_the_enumeration_of_all_swaps() -> None:
    classes = 3
    labels, first, second = answers(11, classes, 10)
    labelled = np.bincount(labels, minlength=classes)[None].astype(np.float64)

    def statistic(sums: Floats) -> Floats:
        return macro_f1(np.repeat(labelled, len(sums), axis=0), sums[:, :classes], sums[:, classes:])[:, None]

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
    before, after = (one_hot(labels, each, classes) for each in (first, second))
    (p,) = swap_test(before, after, statistic, swaps=40_000)
    exact = float(np.mean(as_extreme))
    assert 0.02 < exact < 0.5
    assert p == pytest.approx(exact, abs=4 * (exact / 40_000) ** 0.5)


def test_equal_answers_are_no_evidence_at_all() -> None:
    same = csr_array(np.random.default_rng(3).random((20, 1)))
    assert swap_test(same, same, lambda sums: sums) == [1]


def test_swaps_do_not_depend_on_how_many_are_drawn_at_once_and_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = np.random.default_rng(4)
    first, second = (csr_array(draw.random((10_000, 1))) for _ in range(2))
    tracemalloc.start()
    at_once = swap_test(first, second, lambda sums: sums, swaps=1_000)
    assert tracemalloc.get_traced_memory()[1] < 70e6
    tracemalloc.stop()
    monkeypatch.setattr("src.significance._DRAWS_AT_ONCE", 100_000)
    np.testing.assert_array_equal(at_once, swap_test(first, second, lambda sums: sums, swaps=1_000))


def test_the_macro_f1_interval_agrees_with_a_bootstrap() -> None:
    labels, first, second = answers(2_000, 4, 6)
    low, high = macro_f1_interval(labels, first, second)
    draw = np.random.default_rng(7)
    differences = []
    for _ in range(2_000):
        rows = draw.integers(len(labels), size=len(labels))
        labelled = np.bincount(labels[rows], minlength=4)[None].astype(np.float64)
        sums = [counts(labels[rows], each[rows], 4) for each in (first, second)]
        f1 = [macro_f1(labelled, each[:, :4], each[:, 4:])[0] for each in sums]
        differences.append(f1[1] - f1[0])
    assert (low, high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])), abs=0.004)


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03], [0.5, 0.001, 0.9], [0.02, 0.02, 1.0]])
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_welch_by_its_formulas() -> None:
    first, second = np.array([0.90, 0.92, 0.91]), np.array([0.93, 0.97, 0.92, 0.99])
    variances = [each.var(ddof=1) / len(each) for each in (first, second)]
    error = np.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(variances, (first, second), strict=True))
    difference = second.mean() - first.mean()
    half = stats.t.ppf(0.95, freedom) * error
    p, low, high = welch(first, second, 0.9)
    assert p == pytest.approx(2 * stats.t.sf(difference / error, freedom))
    assert (low, high) == pytest.approx((difference - half, difference + half))


@pytest.mark.parametrize("flips", [0, 3, 7, 8, 9, 20, 21, 150])
def test_the_smallest_difference_is_the_one_at_which_the_test_turns(flips: int) -> None:
    alpha, images = 0.05 / 3, 1_000
    found = round(smallest_difference(flips, images, alpha) * images)
    if flips < 7:  # not even all on one side would do
        possible = ((count, count) for count in range(1, 10))
    else:
        possible = ((more, flips) for more in range((flips + 1) // 2, flips + 1))
    assert found == min(2 * more - n for more, n in possible if stats.binomtest(more, n).pvalue <= alpha)


def test_so_many_images_as_are_asked_for_do_in_four_of_five_cases() -> None:
    margin, share = 0.02, 0.1
    images = images_for_margin(36, 360, margin)
    assert images == images_for_margin(100, 1_000, margin)
    flips = np.random.default_rng(8).multinomial(images, [share / 2, share / 2, 1 - share], size=600)
    passed = sum(accuracy_interval(b, f, images, 0.9)[0] > -margin for b, f, _ in flips.tolist())
    assert 0.75 < passed / 600 < 0.86
    unmoved = images_for_margin(0, 100, margin)
    assert accuracy_interval(0, 0, unmoved, 0.9)[0] > -margin
    assert accuracy_interval(0, 0, unmoved - 2, 0.9)[0] < -margin
