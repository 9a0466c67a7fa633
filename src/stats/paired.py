"""Test and estimate differences: of two models that answered the same images, and of two means.

A difference is always second minus first. Only the first model is right on `broken` images, only the second on `fixed`
ones. `groups` are those of the images, which alone count as independent (`src.stats.groups`).
"""

import warnings
from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.sparse import csr_array

from src.stats.groups import Groups, design_effect
from src.stats.intervals import AT_ONCE, LEVEL, Floats
from src.stats.macro_f1 import class_counts, macro_f1, total

FEW = 10  # with fewer images of a class the interval of macro F1 is too narrow
SWAPS = 10_000


def mcnemar(broken: int, fixed: int) -> float:
    """Return the two-sided exact p-value of equal accuracy.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12 (1947).
    """
    return float(stats.binomtest(fixed, broken + fixed).pvalue) if broken + fixed else 1.0


def accuracy_score(broken: float, fixed: float, images: float, delta: float) -> float:
    """Return Tango's score statistic: standard normal if `delta` is the true difference of accuracy."""
    # The most likely share of broken images, given delta, solves a quadratic equation.
    b = -fixed - broken + (2 * images - fixed + broken) * delta
    c = -broken * delta * (1 - delta)
    share = (sqrt(max(b**2 - 8 * images * c, 0)) - b) / (4 * images)
    variance = images * (2 * share + delta * (1 - delta))
    return (fixed - broken - images * delta) / sqrt(max(variance, 1e-300))


def accuracy_interval(
    was: NDArray[np.bool_], now: NDArray[np.bool_], groups: Groups = None, level: float = LEVEL
) -> tuple[float, float]:
    """Return the interval of the difference of two accuracies, of models that `was` and `now` right (N,)."""
    effect = change_effect(was, now, groups, level)
    return score_interval((was & ~now).sum() / effect, (now & ~was).sum() / effect, len(was) / effect, level)


def change_effect(was: NDArray[np.bool_], now: NDArray[np.bool_], groups: Groups = None, level: float = LEVEL) -> float:
    """Return the design effect on the difference of two accuracies, of models that `was` and `now` right (N,)."""
    return design_effect(now.astype(int) - was, groups, level)


def score_interval(broken: float, fixed: float, images: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the score interval of the difference of two accuracies: the differences that the score test accepts.

    Unlike the textbook's, it is not empty if no image changed sides, and keeps its level for few images.
    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998).
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    difference = (fixed - broken) / images

    def end(sign: int) -> float:
        def above_zero_where_accepted(delta: float) -> float:
            return sign * accuracy_score(broken, fixed, images, delta) + z

        if sign * difference == 1:
            return difference
        start, last = difference + sign * 1e-12, sign * (1 - 1e-12)
        return float(optimize.brentq(above_zero_where_accepted, start, last, xtol=1e-12))

    return end(-1), end(1)


def swap_test(first: csr_array, second: csr_array, statistic: Callable[[Floats], Floats], swaps: int = SWAPS) -> Floats:
    """Return two-sided p-values (M,) of the hypothesis that both models answer alike, by random swaps.

    first, second: what each model's answer to each of N images, or its answers to each of N groups of images, add to F
    sums (N, F). statistic: turns sums (R, F) into M values of each (R, M).

    Each swap exchanges the two answers of every image, or group, with probability ½. p is the share of swaps whose
    difference is at least as large as the real one. The real one counts as a swap, so that p is never 0 (B. Phipson and
    G. K. Smyth, "Permutation p-values should never be zero", 2010). Equal answers change nothing and are left out.

    E. W. Noreen, "Computer-intensive methods for testing hypotheses" (1989), approximate randomization.
    """
    change = csr_array(second - first)
    change.eliminate_zeros()
    change = change[np.diff(change.indptr) > 0]
    start, goal = total(first), total(second)
    observed = (statistic(goal) - statistic(start))[0]
    # Sums that are added in another order differ in the last bits: such differences are equal.
    threshold = np.abs(observed) * (1 - 1e-9) - 1e-12
    draw = np.random.default_rng(0)
    images = change.shape[0]
    transposed = change.T.tocsr()  # (F, images that differ)
    at_once = max(1, AT_ONCE // max(change.shape))
    extreme = np.ones(len(observed))
    for done in range(0, swaps, at_once):
        rows = min(at_once, swaps - done)
        # Four bytes are drawn at a time. By a multiple of four for each swap, results do not depend on `rows`.
        bits = np.unpackbits(np.frombuffer(draw.bytes(rows * 4 * ((images + 31) // 32)), dtype=np.uint8))
        swapped = bits.reshape(rows, -1)[:, :images].astype(np.float64)
        moved = (transposed @ swapped.T).T
        extreme += (np.abs(statistic(goal - moved) - statistic(start + moved)) >= threshold).sum(axis=0)
    return extreme / (swaps + 1)


def macro_f1_interval(
    labels: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp], groups: Groups = None
) -> tuple[float, float]:
    """Return a 95 % interval of the difference of macro F1 of two models' predictions (N,) of the same labels (N,).

    It is normal, with the standard error of the infinitesimal jackknife: the influence of each image on the difference,
    squared and summed (B. Efron, "The jackknife, the bootstrap and other resampling plans" (1982), chapter 6), and the
    design effect of these influences.

    The error would be zero if no image changed sides. So four images are added for it, spread over the classes as the
    labels are: both models right, broken, fixed, both wrong. (For accuracies two are enough: A. Agresti and Y. Min,
    "Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24 (2005).) With
    fewer than about `FEW` images of a class the interval is too narrow (`benchmarks.verdicts`).
    """
    classes = int(max(labels.max(), first.max(), second.max())) + 1
    weights = np.concatenate([np.ones(len(labels)), np.tile(np.bincount(labels, minlength=classes) / len(labels), 4)])
    right, wrong = np.arange(classes), np.full(classes, classes)  # wrong answers of added images are no class at all
    all_labels = np.concatenate([labels, right, right, right, right])

    def influence(predicted: NDArray[np.intp]) -> Floats:
        # F1 = 2·hits / size, size = labelled + mentioned: +2 / size for a hit, −2·hits / size² for a label or mention.
        counts = class_counts(all_labels, predicted, classes + 1)
        labelled, mentioned, hits = np.asarray(weights @ counts).reshape(3, -1)
        size = labelled + mentioned
        size[classes] = 0
        per_mention, per_hit = (
            np.divide(slope, size**power, out=np.zeros(classes + 1), where=size > 0) / (size > 0).sum()
            for slope, power in ((-2 * hits, 2), (2, 1))
        )
        return np.asarray(counts @ np.concatenate([per_mention, per_mention, per_hit]))

    of_first = influence(np.concatenate([first, right, right, wrong, wrong]))
    of_second = influence(np.concatenate([second, right, wrong, right, wrong]))
    change = of_second - of_first
    variance = (weights * change**2).sum() * design_effect(change[: len(labels)], groups)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * float(np.sqrt(variance))
    before, after = (macro_f1(total(class_counts(labels, each, classes))).item() for each in (first, second))
    difference = after - before
    return max(-1, difference - half), min(1, difference + half)


def welch(first: Floats, second: Floats, level: float = LEVEL) -> tuple[float, float, float]:
    """Return p-value and interval of the difference of two means whose spreads may differ.

    All are NaN if a side has fewer than two values, or if neither side has any spread.
    B. L. Welch, "The generalization of Student's problem when several different population variances are involved",
    Biometrika 34 (1947).
    """
    if min(len(first), len(second)) < 2 or not (np.ptp(first) or np.ptp(second)):
        return np.nan, np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # values of a side that are nearly equal: harmless
        result = stats.ttest_ind(second, first, equal_var=False)
    interval = result.confidence_interval(level)
    return float(result.pvalue), float(interval.low), float(interval.high)
