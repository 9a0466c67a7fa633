"""Statistics of images that come in groups, such as patients or scenes, and are right or wrong together.

Only the groups are independent then. Functions of this package take `groups`, the group of each image, or None where
each image is a group of its own.
"""

from collections.abc import Iterable
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from src.stats.intervals import LEVEL

Groups = Iterable[str] | None


def sum_by_group(features: csr_array, groups: Groups) -> csr_array:
    """Return what each of G groups adds to F sums (G, F), from what each image adds (N, F)."""
    if groups is None:
        return features
    names, places = np.unique(np.array(groups, dtype=object), return_inverse=True)
    images = np.arange(len(places))
    return csr_array(csr_array((np.ones(len(places)), (places, images)), (len(names), len(places))) @ features)


def design_effect(values: ArrayLike, groups: Groups, level: float = LEVEL) -> float:
    """Return by what number images must be divided, to know how many independent ones would tell as much.

    It is the variance of the mean of the `values` (N,) between groups, as a share of that between independent images,
    and at least 1; few groups make it larger, since their variance is hardly known (Student's t instead of the normal
    distribution of an interval of this `level`). It is at most N: all images together tell as much as one.

    L. Kish, "Survey Sampling" (1965), chapter 5; E. L. Korn and B. I. Graubard, "Confidence intervals for proportions
    with small expected number of positive counts estimated from survey data", Survey Methodology 24 (1998).
    """
    values = np.asarray(values, dtype=np.float64)
    if groups is None or not len(values):
        return 1.0
    from scipy.stats import t  # takes half a second

    rest = values - values.mean()
    sums = sum_by_group(csr_array(rest[:, None]), groups).toarray()
    if (count := len(sums)) == 1:
        return float(len(values))
    alone = (rest**2).sum()
    effect = max(1.0, count / (count - 1) * (sums**2).sum() / alone) if alone > 0 else 1.0
    quantile = (1 + level) / 2
    return float(min(len(values), effect * (t.ppf(quantile, count - 1) / NormalDist().inv_cdf(quantile)) ** 2))
