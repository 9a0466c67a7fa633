"""Is the difference between two models real? Paired tests and intervals: arrays in, numbers out.

Two models that answered the same images are compared image by image. A difference is always second minus first.
"""

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.sparse import csr_array
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar  # type: ignore[import-untyped]

from src.statistics import LEVEL, Floats

ALPHA = 1 - LEVEL
EQUIVALENCE_LEVEL = 0.9  # of the interval that answers two one-sided tests at 5 %
POWER = 0.8
SWAPS = 10_000
SEED = 0
_DRAWS_AT_ONCE = 2_000_000  # bounds memory: 16 MB of draws, and a few times that of sums


def mcnemar(broken: int, fixed: int) -> float:
    """Two-sided exact p-value of equal accuracy, from the images that only the first or only the second has right.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12 (1947).
    """
    if not broken + fixed:
        return 1.0  # statsmodels would answer 2
    return float(statsmodels_mcnemar([[0, broken], [fixed, 0]], exact=True).pvalue)


def accuracy_interval(broken: float, fixed: float, images: float, level: float = LEVEL) -> tuple[float, float]:
    """Score interval of the difference of two accuracies on the same images.

    Unlike the textbook one it is not empty where no image changed sides, and keeps its level for few images. Counts
    need not be whole: that answers what more images of the same kind would give.
    T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998).
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    difference = (fixed - broken) / images

    def score(delta: float) -> float:
        # The most likely share of broken images, were the difference delta, solves a quadratic equation.
        b = -fixed - broken + (2 * images - fixed + broken) * delta
        c = -broken * delta * (1 - delta)
        share = (np.sqrt(max(b**2 - 8 * images * c, 0)) - b) / (4 * images)
        variance = images * (2 * share + delta * (1 - delta))
        return float((fixed - broken - images * delta) / np.sqrt(max(variance, 1e-300)))

    def end(sign: int) -> float:
        if sign * difference == 1:
            return difference
        reach = sign * (1 - 1e-12)
        start = difference + sign * 1e-12
        return float(optimize.brentq(lambda delta: sign * score(delta) + z, start, reach, xtol=1e-12))

    return end(-1), end(1)


def swap_test(
    first: csr_array,
    second: csr_array,
    statistic: Callable[[Floats], Floats],
    swaps: int = SWAPS,
    seed: int = SEED,
) -> Floats:
    """Two-sided p-values (M,) of "it does not matter which model gave which answer", by random swaps of the answers.

    `first` and `second` (N, F) hold what each model's answer to each of N images adds to F sums; `statistic` turns sums
    (R, F) into values (R, M). Each of the `swaps` draws exchanges the two answers of every image with probability ½;
    p counts the draws whose difference is at least as large as the real one, which itself counts as one of them
    (B. Phipson and G. K. Smyth, "Permutation p-values should never be zero", 2010). Only images on which the models
    differ can change anything, and only those are drawn.

    E. W. Noreen, "Computer-intensive methods for testing hypotheses" (1989), approximate randomization.
    """
    change = csr_array(second - first)
    change.eliminate_zeros()
    change = change[np.diff(change.indptr) > 0]
    start, goal = (np.asarray(each.sum(axis=0), dtype=np.float64)[None] for each in (first, second))
    observed = (statistic(goal) - statistic(start))[0]
    # Equal differences must not count as smaller because their sums were added in another order.
    threshold = np.abs(observed) * (1 - 1e-9) - 1e-12
    draw = np.random.default_rng(seed)
    images = change.shape[0]
    transposed = change.T.tocsr()  # (F, images that differ)
    at_once = max(1, _DRAWS_AT_ONCE // max(1, images))
    extreme = np.ones(len(observed))
    for done in range(0, swaps, at_once):
        rows = min(at_once, swaps - done)
        bits = np.unpackbits(np.frombuffer(draw.bytes(rows * ((images + 7) // 8)), dtype=np.uint8))
        swapped = bits.reshape(rows, -1)[:, :images].astype(np.float64)
        moved = (transposed @ swapped.T).T
        extreme += (np.abs(statistic(goal - moved) - statistic(start + moved)) >= threshold).sum(axis=0)
    return extreme / (swaps + 1)


def macro_f1(labelled: Floats, predicted: Floats, hits: Floats) -> Floats:
    """Mean F1 (R,) of the classes that occur among labels or predictions, from counts by class (R, K)."""
    size = labelled + predicted
    f1 = np.divide(2 * hits, size, out=np.zeros_like(size), where=size > 0)
    return np.asarray(f1.sum(axis=1) / (size > 0).sum(axis=1))


def macro_f1_interval(
    labels: NDArray[np.intp], first: NDArray[np.intp], second: NDArray[np.intp], level: float = LEVEL
) -> tuple[float, float]:
    """Interval of the difference of macro F1 of two models' predictions (N,) of the same labels (N,).

    Normal, with the infinitesimal jackknife's standard error: how much each image moves the difference, squared and
    added up (B. Efron, "The jackknife, the bootstrap and other resampling plans" (1982), chapter 6).
    """
    classes = int(max(labels.max(), first.max(), second.max())) + 1

    def value_and_influence(predicted: NDArray[np.intp]) -> tuple[float, Floats]:
        labelled_, predicted_, hits = (
            np.bincount(of, minlength=classes).astype(np.float64)
            for of in (labels, predicted, labels[labels == predicted])
        )
        value = macro_f1(labelled_[None], predicted_[None], hits[None])[0]
        size = labelled_ + predicted_
        occurs = size > 0
        per_hit = np.divide(2, size, out=np.zeros(classes), where=occurs) / occurs.sum()
        per_mention = np.divide(-2 * hits, size**2, out=np.zeros(classes), where=occurs) / occurs.sum()
        influence = per_mention[labels] + per_mention[predicted] + (labels == predicted) * per_hit[labels]
        return float(value), influence

    (before, pull), (after, push) = value_and_influence(first), value_and_influence(second)
    half = float(stats.norm.ppf((1 + level) / 2)) * float(np.sqrt(((push - pull) ** 2).sum()))
    return after - before - half, after - before + half


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """P-values adjusted for having asked several questions at once: each may be held against ALPHA.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    statsmodels' own collects garbage first, which takes 0.2 s.
    """
    order = np.argsort(p_values, kind="stable")
    ascending = np.asarray(p_values, dtype=np.float64)[order]
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(ascending * np.arange(len(order), 0, -1)))
    return adjusted


def welch(first: Floats, second: Floats, level: float = LEVEL) -> tuple[float, float, float]:
    """P-value and interval of the difference of two means, from at least two independent values each, spreads unequal.

    B. L. Welch, "The generalization of Student's problem when several different population variances are involved",
    Biometrika 34 (1947). At least one side must have a spread.
    """
    result = stats.ttest_ind(second, first, equal_var=False)
    interval = result.confidence_interval(level)
    return float(result.pvalue), float(interval.low), float(interval.high)


def smallest_difference(flips: int, images: int, alpha: float) -> float:
    """The smallest difference of accuracy that McNemar's test could have called real at `alpha`.

    With as many images that changed sides as there were; where even all of them on one side would not do, with as many
    as it takes.
    """
    fewest = next(count for count in range(1, 1000) if mcnemar(0, count) <= alpha)
    if flips <= fewest:
        return fewest / images
    # Odd and even: a difference has the parity of the flips.
    low, high = (flips + 1) // 2, flips  # of the flips, those on the larger side
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if mcnemar(flips - middle, middle) <= alpha else (middle + 1, high)
    return (2 * low - flips) / images


def images_for_margin(flips: int, images: int, margin: float) -> int:
    """How many images show, in 80 % of cases, that an equally good model is not worse by `margin` or more.

    At the one-sided 5 % level and with the share of images that changed sides here: n = ψ·((z₀.₉₅ + z₀.₈) / margin)²,
    but no fewer than it takes where no image at all changes sides.
    J.-M. Nam, "Establishing equivalence of two treatments and sample size requirements in matched-pairs design",
    Biometrics 53 (1997).
    """
    z, power = float(stats.norm.ppf(LEVEL)), float(stats.norm.ppf(POWER))
    unmoved = z**2 * (1 - margin) / margin  # from Tango's interval without flips: ±z² / (n + z²)
    return max(ceil(flips / images * ((z + power) / margin) ** 2), int(unmoved) + 1)
