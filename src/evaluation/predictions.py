"""The table of predictions, with one row per image, and the part of it that git keeps."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pandas
from numpy.typing import NDArray

from src.evaluation.logits import log_probabilities

MOST = 200_000  # rows that git keeps, about 15 MB: GitHub refuses files of 100 MB


def predictions(
    logits: NDArray[np.floating], labels: NDArray[np.int64], names: Sequence[str], classes: Sequence[str]
) -> pandas.DataFrame:
    """Return a row for each image, from logits (N, K) and labels (N,).

    Columns: `index,name,label,prediction,confidence,label_probability`, to which stages add those of `read_identity`.
    `label` and `prediction` are names of classes. The probabilities are not calibrated, so that models can be compared
    by them. Raises `UserError` if a logit is not finite.
    """
    # Without images, the logits' own shape does not tell the number of classes.
    scores = log_probabilities(logits.reshape(len(labels), len(classes)))
    predicted = scores.argmax(axis=1)
    each = np.arange(len(labels))
    return pandas.DataFrame(
        {
            "index": each,
            "name": list(names),
            "label": [classes[label] for label in labels],
            "prediction": [classes[label] for label in predicted],
            "confidence": np.exp(scores[each, predicted]),
            "label_probability": np.exp(scores[each, labels]),
        }
    )


def kept(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return at most `MOST` rows, in their order: those whose names have the lowest digests.

    So two commits keep the same images, and can be compared by them.
    """
    if len(table) <= MOST:
        return table
    digests = np.array([blake2b(name.encode(), digest_size=8).digest() for name in table["name"]], dtype="V8")
    return table.iloc[np.sort(np.argsort(digests.view(">u8"), kind="stable")[:MOST])]
