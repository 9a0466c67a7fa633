"""Calibration: does the network's confidence agree with its accuracy, before and after temperature scaling?

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv 1706.04599: dividing all
logits by one temperature, fitted on validation images, repairs most of the miscalibration and changes no prediction.
"""

import numpy as np
import pandas
from numpy.typing import NDArray

from src.evaluation.metrics import ECE_BINS, confidence_bins, measure
from src.evaluation.outputs import log_probabilities

COLDEST, HOTTEST = 0.01, 100.0
_MEASURED = ("images", "confidence", "accuracy")
_HALVINGS = 50  # of the range of log T, 9.2: to 1e-14


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float | None:
    """Find the temperature T that minimises the mean cross entropy of logits / T, (N, K), against labels (N,).

    As a function of 1/T the cross entropy is convex; its slope, the mean of Σ_k p_k z_k − z_y, is brought to 0 by
    bisection of log T. Return None without images, or if T would leave [0.01, 100]: if every image is recognised the
    loss falls for ever as T → 0, if they are recognised no better than by chance, as T → ∞.
    """
    if not len(labels):
        return None
    scores = log_probabilities(logits)
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    margins = scores - own  # the slope's terms as differences: no cancellation where p_y is nearly 1

    def slope(temperature: float) -> float:
        return float((np.exp(log_probabilities(scores / temperature)) * margins).sum())

    low, high = np.log(COLDEST), np.log(HOTTEST)
    if slope(COLDEST) <= 0 or slope(HOTTEST) >= 0:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) > 0 else (low, middle)
    return round(float(np.exp((low + high) / 2)), 6)


def calibrated_metrics(
    logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float | None
) -> dict[str, float | int]:
    """Return `temperature`, and loss, Brier score and ECE of logits / temperature, as `…_calibrated` with intervals.

    They are computed as in `measure`. Return nothing without a temperature or without images.
    """
    if temperature is None or not len(labels):
        return {}
    result: dict[str, float | int] = {"temperature": temperature}
    for key, value in measure(logits / temperature, labels).items():
        name, *end = key.partition("_ci_")
        if name in ("loss", "brier", "ece"):
            result["".join([f"{name}_calibrated", *end])] = value
    return result


def reliability(logits: NDArray[np.floating], labels: NDArray[np.int64], temperature: float | None) -> pandas.DataFrame:
    """Return the rows of a reliability diagram, one for each of the 15 bins of confidence that the ECE sums over.

    Columns `bin_low,bin_high,images,confidence,accuracy`, the last two means over the bin's images, and those three
    again as `…_calibrated`, of logits / temperature. What cannot be computed is NaN: means of a bin without images,
    everything calibrated without a temperature. Without images there are no rows.
    """
    ends = np.linspace(0, 1, ECE_BINS + 1)
    bins = pandas.DataFrame({"bin_low": ends[:-1], "bin_high": ends[1:]})
    if not len(labels):  # without outputs the number of classes is unknown
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
