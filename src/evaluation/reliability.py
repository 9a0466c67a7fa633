"""Compare confidence with accuracy by bins of confidence, before and after temperature scaling."""

import numpy as np
import pandas
from numpy.typing import NDArray

from src.evaluation.logits import log_probabilities
from src.evaluation.metrics import ECE_BINS, confidence_bins, of_probabilities
from src.stats.groups import Groups

_MEASURED = ("images", "confidence", "accuracy")


def calibrated_metrics(
    logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float | None, groups: Groups = None
) -> dict[str, float | int]:
    """Return `temperature`, and loss, Brier score and ECE of logits / temperature, as `…_calibrated` with intervals.

    groups: as of `measure`. Return nothing without a temperature or without images.
    """
    if temperature is None or not len(labels):
        return {}
    result: dict[str, float | int] = {"temperature": temperature}
    for key, value in of_probabilities(log_probabilities(logits / temperature), labels, groups).items():
        name, *end = key.partition("_ci_")
        result["".join([f"{name}_calibrated", *end])] = value
    return result


def reliability(logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float | None) -> pandas.DataFrame:
    """Return the rows of a reliability diagram, one for each of the 15 bins of confidence that the ECE sums over.

    Columns are `bin_low,bin_high,images,confidence,accuracy`, the last two means over the bin's images, and the last
    three once more as `…_calibrated`, of logits / temperature. The means of a bin without images are NaN, and so is
    everything calibrated without a temperature. Without images there are no rows.
    """
    ends = np.linspace(0, 1, ECE_BINS + 1)
    bins = pandas.DataFrame({"bin_low": ends[:-1], "bin_high": ends[1:]})
    if not len(labels):  # then the number of classes is unknown
        return bins[:0].reindex(columns=[*bins, *_MEASURED, *(f"{name}_calibrated" for name in _MEASURED)])
    plain = _by_bin(logits, labels)
    calibrated = plain * np.nan if temperature is None else _by_bin(logits / temperature, labels)
    return bins.join(plain).join(calibrated.add_suffix("_calibrated"))


def _by_bin(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> pandas.DataFrame:
    """Return the number of images in each bin, and their mean confidence and accuracy."""
    scores = log_probabilities(logits)
    confidence, correct = np.exp(scores.max(axis=1)), scores.argmax(axis=1) == labels
    bins = confidence_bins(confidence)
    images, sure, right = (np.bincount(bins, each, minlength=ECE_BINS) for each in (None, confidence, correct))
    divisor = np.where(images > 0, images, np.nan)
    return pandas.DataFrame(dict(zip(_MEASURED, (images, sure / divisor, right / divisor), strict=True)))
