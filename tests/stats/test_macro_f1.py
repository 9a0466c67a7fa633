"""Macro F1 from sums, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from src.stats.macro_f1 import class_counts, macro_f1, total


def test_macro_f1_is_scikit_learns() -> None:
    draw = np.random.default_rng(1)
    labels = draw.integers(6, size=300)
    predicted = np.where(draw.random(300) < 0.6, labels, draw.integers(7, size=300))  # class 6 has no images
    sums = total(class_counts(labels, predicted, 8))  # class 7 does not occur at all
    assert macro_f1(sums)[0] == pytest.approx(f1_score(labels, predicted, average="macro"))
    halves = [total(class_counts(labels[rows], predicted[rows], 8)) for rows in (slice(150), slice(150, None))]
    np.testing.assert_array_equal(sum(halves), sums)
