"""Accuracy by class and by group, and the confusions of classes, from a table of predictions."""

from collections.abc import Sequence

import numpy as np
import pandas
from numpy.typing import ArrayLike, NDArray

from src.stats.groups import design_effect
from src.stats.intervals import wilson


def per_class(predictions: pandas.DataFrame, classes: Sequence[str]) -> pandas.DataFrame:
    """Return `class`, `accuracy_columns`, `precision` and `f1`, one row per class, from a table of predictions.

    `accuracy` is the share of the class's images that were recognised, which retrieval calls recall. The precision of a
    class that was never predicted is NaN.
    """
    counts = _confusion(predictions, classes)
    images, predicted, correct = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    effects = {
        name: design_effect(own["label"] == own["prediction"], own.get("group"))
        for name, own in predictions.groupby("label")
    }
    return pandas.DataFrame(
        {
            "class": list(classes),
            **accuracy_columns(correct, images, [effects.get(name, 1.0) for name in classes]),
            "precision": correct / _positive(predicted),
            "f1": 2 * correct / _positive(images + predicted),
        }
    )


def confusion(predictions: pandas.DataFrame, classes: Sequence[str]) -> pandas.DataFrame:
    """Count how often each label got each prediction: `label,prediction,count` in the order of `classes`, no zeros.

    A row for each pair, not a K×K square: so a diff shows a changed confusion as one line with both names, also of 100
    classes.
    """
    counts = _confusion(predictions, classes)
    rows, columns = np.nonzero(counts)
    return pandas.DataFrame(
        {
            "label": [classes[row] for row in rows.tolist()],
            "prediction": [classes[column] for column in columns.tolist()],
            "count": counts[rows, columns],
        }
    )


def per_group(predictions: pandas.DataFrame) -> pandas.DataFrame:
    """Return `group` and `accuracy_columns`, one row for each group (a patient, a scene) in alphabetical order.

    An interval is for further images of that group. Without the column `group` there are no rows.
    """
    names, places = np.unique(np.array(predictions.get("group", []), dtype=object), return_inverse=True)
    right = (predictions["label"] == predictions["prediction"]).to_numpy()[: len(places)]
    images, correct = np.bincount(places, minlength=len(names)), np.bincount(places[right], minlength=len(names))
    return pandas.DataFrame({"group": names, **accuracy_columns(correct, images)})


def accuracy_columns(
    correct: NDArray[np.integer], images: NDArray[np.integer] | int, effects: ArrayLike = 1.0
) -> dict[str, NDArray[np.generic] | int]:
    """Return `images,correct,accuracy`, and the ends of the 95 % Wilson interval of accuracy, `ci_low,ci_high`.

    They are those of each of N subsets, with their design effects. Accuracy and interval are NaN without images.
    """
    low, high = wilson(correct, images, effects)
    accuracy = correct / _positive(images)
    return {"images": images, "correct": correct, "accuracy": accuracy, "ci_low": low, "ci_high": high}


def _confusion(predictions: pandas.DataFrame, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return counts (K, K), rows by label, columns by prediction."""
    place = {name: index for index, name in enumerate(classes)}
    labels, predicted = (predictions[column].map(place).to_numpy(np.int64) for column in ("label", "prediction"))
    return np.bincount(len(classes) * labels + predicted, minlength=len(classes) ** 2).reshape(len(classes), -1)


def _positive(counts: NDArray[np.integer] | int) -> NDArray[np.float64]:
    """Turn counts into divisors: NaN for 0."""
    return np.where(counts > 0, counts, np.nan)
