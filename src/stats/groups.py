"""Statistics of images that come in groups, such as patients or scenes, and are right or wrong together.

Only the groups are independent then. Functions of this package take `groups`, the group of each image, or None where
each image is a group of its own.
"""

from collections.abc import Collection
from math import inf, sqrt
from statistics import NormalDist

import numpy as np
import pandas
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import stdtrit

from src.stats import intervals
from src.stats.intervals import LEVEL, Floats

Groups = Collection[str] | None


def sum_by_group(features: csr_array, groups: Groups) -> csr_array:
    """Return what each of G groups adds to F sums (G, F), from what each image adds (N, F)."""
    if groups is None:
        return features
    places = _places(groups)
    images = np.arange(len(places))
    return csr_array(csr_array((np.ones(len(places)), (places, images))) @ features)


def design_effect(values: ArrayLike, groups: Groups, level: float = LEVEL) -> float:
    """Return how many images of these groups tell as much about the mean of the `values` (N,) as one independent image.

    It is the variance of the mean, by leaving out one group after the other, over that of a mean of independent images,
    and at least 1. Few groups, or some that are much larger than others, make it larger: their variance is hardly
    known, so that an interval of this `level` needs Student's t instead of the normal distribution. Where all values
    are equal, and nothing tells how alike a group's images are, they count as copies. It is at most N.

    L. Kish, "Survey Sampling" (1965), chapter 5; E. L. Korn and B. I. Graubard, "Confidence intervals for proportions
    with small expected number of positive counts estimated from survey data", Survey Methodology 24 (1998).
    """
    values = np.asarray(values, dtype=np.float64)
    if groups is None or not len(values):
        return 1.0
    places = _places(groups)
    share = np.bincount(places) / len(values)
    if (count := len(share)) == 1:
        return float(len(values))
    rest = values - values.mean()
    alone = float((rest**2).sum())
    sums = np.bincount(places, rest) / (1 - share)
    effect = (1 - 1 / count) * float((sums**2).sum()) / alone if alone > 0 else len(values) * float((share**2).sum())
    return min(float(len(values)), max(1.0, effect) * _student(share, level) ** 2)


def group_sizes(groups: Collection[str]) -> NDArray[np.intp]:
    """Return how many images each group has (G,)."""
    return np.bincount(_places(groups))


def widened(low: float, value: float, high: float, sizes: NDArray[np.intp]) -> tuple[float, float]:
    """Return the ends of an interval that was made by resampling groups, of which few give too narrow a one.

    sizes: images of each group (G,). A single group gives infinite ends.
    """
    share = sizes / sizes.sum()
    factor = inf if len(share) == 1 else _student(share, LEVEL) * sqrt(len(share) / (len(share) - 1))
    return value - factor * max(value - low, 1e-12), value + factor * max(high - value, 1e-12)


def mean_interval(values: Floats, groups: Groups) -> tuple[float, float]:
    """Return the 95 % interval of the mean of values (N,), of which there are at least two."""
    if groups is None:
        return intervals.mean_interval(values)
    error = values.std(ddof=1) * sqrt(design_effect(values, groups) / len(values))
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
    return float(values.mean() - half), float(values.mean() + half)


def _places(groups: Collection[str]) -> NDArray[np.intp]:
    """Return the number of each image's group (N,)."""
    return pandas.factorize(np.array(list(groups), dtype=object))[0]


def _student(share: Floats, level: float) -> float:
    """Return by how much Student's t is wider than the normal distribution, for groups with these shares of images."""
    quantile = (1 + level) / 2
    return float(stdtrit(1 / (share**2).sum() - 1, quantile)) / NormalDist().inv_cdf(quantile)
