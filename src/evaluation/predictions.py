"""The table of predictions, with one row per image."""

from collections.abc import Sequence

import numpy as np
import pandas
from numpy.typing import NDArray

from src.evaluation.logits import log_probabilities


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
