"""Macro F1 and balanced accuracy from sums over images, so that resampling images costs one sparse product."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from src.stats.intervals import Floats


def class_counts(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> csr_array:
    """Return what each answer adds to the counts by class (N, 3K): its label, its prediction, and its hit if right."""
    images = len(labels)
    columns = np.stack([labels, classes + predicted, 2 * classes + labels], axis=1)
    values = np.stack([np.ones(images), np.ones(images), predicted == labels], axis=1)
    return csr_array((values.ravel(), columns.ravel(), 3 * np.arange(images + 1)), shape=(images, 3 * classes))


def add_two(counts: csr_array) -> csr_array:
    """Add to the counts (N, 3K) an image that is right and one that is wrong, both spread evenly over the classes.

    Of images that are all right every resample is all right, too, as if nothing else were possible. With these two, the
    intervals of a bootstrap hold the truth about as often as they say, even where a class has few images. (Two of each
    kind do the same for a normal interval of an accuracy: A. Agresti and B. A. Coull, "Approximate is better than
    'exact' for interval estimation of binomial proportions", The American Statistician 52 (1998).)
    """
    occurs = np.split(total(counts), 3, axis=1)[0] > 0
    share = occurs / occurs.sum()
    added = np.block([[share, share, share], [share, share, 0 * share]])
    return csr_array(vstack([counts, csr_array(added)]))


def total(features: csr_array) -> Floats:
    """Return the sums (1, F) of what the images add (N, F)."""
    return np.asarray(features.sum(axis=0), dtype=np.float64)[None]


def balanced_accuracy(sums: Floats) -> Floats:
    """Return the mean accuracy (R,) of the classes that occur among labels, from summed counts (R, 3K)."""
    labelled, _, hits = np.split(sums, 3, axis=1)
    recall = np.divide(hits, labelled, out=np.zeros_like(hits), where=labelled > 0)
    return np.asarray(recall.sum(axis=1) / (labelled > 0).sum(axis=1))


def macro_f1(sums: Floats) -> Floats:
    """Return the mean F1 (R,) of the classes that occur among labels or predictions, from summed counts (R, 3K)."""
    labelled, predicted, hits = np.split(sums, 3, axis=1)
    size = labelled + predicted
    occurs = size > 0
    f1 = np.divide(2 * hits, size, out=np.zeros_like(size), where=occurs)
    return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))
