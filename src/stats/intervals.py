"""Intervals: arrays in, numbers out. Nothing here knows images or files."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 0
_AT_ONCE = 2_000_000  # bounds memory: 16 MB of image numbers, as much of counts, and of sums


def wilson(successes: ArrayLike, trials: ArrayLike, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return Wilson's score interval of a proportion, elementwise; NaN where there were no trials.

    Unlike the textbook p ± z·√(p(1−p)/n) it keeps its level for few trials and near 0 and 1, and stays inside [0, 1].
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); recommended
    by Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16 (2001).
    """
    n = np.asarray(trials, dtype=np.float64)
    n = np.where(n > 0, n, np.nan)
    p = np.asarray(successes, dtype=np.float64) / n
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # The ends at p = 0 and p = 1 are exactly 0 and 1; rounding would leave 1e-17.
    return np.where(p == 0, 0.0, centre - half), np.where(p == 1, 1.0, centre + half)


def mean_interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return Student's t interval of the mean of at least two independent values (N,), such as one per seed."""
    from scipy.stats import t  # takes half a second to import, and only this needs it

    half = t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def difference_of_two(values: Floats, level: float = LEVEL) -> float:
    """Return how far two new values lie apart at most, with this probability, after a sample (N,) of their kind.

    Student's t of the sample's standard deviation: the difference of two has √2 times that of one.
    """
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) * np.sqrt(2))


def bootstrap(
    features: csr_array,
    statistic: Callable[[Floats], Floats],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = SEED,
) -> tuple[Floats, Floats, Floats]:
    """Return percentile bootstrap intervals of `statistic`, low (M,) and high (M,), and its mean over resamples (M,).

    `features` (N, F) holds what each of the N observations adds to F sums; `statistic` turns sums (R, F) into values
    (R, M). Drawing N observations with replacement and summing their features is the same as weighing each by how
    often it was drawn, so a resample costs one sparse product however many statistics share it: 10,000 resamples of
    10,000 images take about 2 s on one core, and memory does not grow with `resamples` beyond the (R, M) values.

    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    observations = features.shape[0]
    draw = np.random.default_rng(seed)
    transposed = features.T.tocsr()  # (F, N)
    at_once = max(1, _AT_ONCE // max(features.shape))
    values = []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = draw.integers(observations, size=(rows, observations))
        drawn += np.arange(rows)[:, None] * observations
        counts = np.bincount(drawn.ravel(), minlength=rows * observations).reshape(rows, observations)
        values.append(statistic((transposed @ counts.T.astype(np.float64)).T))
    found = np.concatenate(values)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high, found.mean(axis=0)
