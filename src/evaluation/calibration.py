"""Calibration on validation images: a temperature for confidence to agree with accuracy, and what is too improbable.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv 1706.04599: dividing all
logits by one temperature, fitted on validation images, repairs most of the miscalibration and changes no prediction.
"""

import math

import numpy as np
from numpy.typing import NDArray

from src.evaluation.outputs import log_probabilities
from src.models.file import Calibration, ModelSpec

COVERAGES = ("0.8", "0.9", "0.95", "0.99")
COLDEST, HOTTEST = 0.01, 100.0
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


def calibrate(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Calibration | None:
    """Fit a temperature, and find how probable a class must be to remain possible. Return None without images.

    Logits (N, K) and labels (N,) are those of validation. Split conformal prediction with the least ambiguous sets
    (Sadinle, Lei and Wasserman, 2019, arXiv 1609.00451): of new images as those of validation, the true class remains
    in about the share `coverage`; in at least that, on average over data sets, if these images had chosen nothing
    before, neither epoch nor temperature. Where even the most probable class does not remain, the image is like none
    that was seen. Too few images for a coverage leave all classes possible.
    """
    if not len(labels):
        return None
    temperature = fit_temperature(logits, labels)
    scores = log_probabilities(logits / (temperature or 1.0))
    own = np.sort(np.exp(np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]))
    least = {}
    for coverage in COVERAGES:
        missed = int((1 - float(coverage)) * (len(own) + 1) + 1e-9)  # images that may be missed, of these and a new one
        # Rounded down: what a processor's last bits leave just below is not to be lost.
        least[coverage] = math.floor(1e6 * own[missed - 1]) / 1e6 if missed else 0.0
    return Calibration(temperature=temperature, least=least)


def calibrated(spec: ModelSpec, logits: NDArray[np.floating], labels: NDArray[np.int64]) -> ModelSpec:
    """Return the spec of a trained network with what its validation logits (N, K) and labels (N,) say of it."""
    return spec.model_copy(update={"calibration": calibrate(logits, labels)})
