"""Calibration on validation images: a temperature that makes confidence agree with accuracy, and the least probability
at which a class remains possible.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv 1706.04599: dividing all
logits by one temperature, fitted on validation images, repairs most of the miscalibration and changes no prediction.
"""

import math

import numpy as np
from numpy.typing import NDArray

from src.evaluation.logits import log_probabilities
from src.models.model_file import Calibration, ModelSpec

COVERAGES = ("0.8", "0.9", "0.95", "0.99")
_SPREAD = 0.5  # of log T: of 10 to 50 images, the loss of others is then down to half of that without; of 200 the same
_COLDEST, _HOTTEST = 0.01, 100.0


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Find the most probable temperature T, which divides logits (N, K), given labels (N,), N above 0.

    It minimises the summed cross entropy and (log T / spread)² / 2, which stands for what is known without any image:
    most networks are right about T = 1. Without it few images decide too much: where all are recognised, the cross
    entropy alone falls for ever as T → 0. Bisection of log T, in [0.01, 100], brings the slope to 0: that of the cross
    entropy, as a function of 1/T, is Σ_k p_k z_k − z_y.
    """
    scores = log_probabilities(logits)
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    margins = scores - own  # differences keep the slope's digits where p_y is nearly 1
    low, high = np.log(_COLDEST), np.log(_HOTTEST)
    for _ in range(50):  # halvings of a range of 9.2, to 1e-14
        middle = (low + high) / 2
        temperature = np.exp(middle)
        slope = (np.exp(log_probabilities(scores / temperature)) * margins).sum() / temperature
        low, high = (middle, high) if slope > middle / _SPREAD**2 else (low, middle)
    return round(float(np.exp((low + high) / 2)), 6)


def calibrate(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> Calibration | None:
    """Fit a temperature, and find how probable a class must be to remain possible. Return None without images.

    Logits (N, K) and labels (N,) are those of validation. This is split conformal prediction with the least ambiguous
    sets (Sadinle, Lei and Wasserman, 2019, arXiv 1609.00451): for about the share `coverage` of new images like those
    of validation, the true class remains possible. (It would be at least that share, on average over data sets, had the
    validation images not chosen epoch and temperature before.) Where even the most probable class is impossible, the
    image is unlike those of training. Too few images for a coverage leave all classes possible.
    """
    if not len(labels):
        return None
    temperature = fit_temperature(logits, labels)
    scores = log_probabilities(logits / temperature)
    own = np.sort(np.exp(np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]))
    least = {}
    for coverage in COVERAGES:
        missed = int((1 - float(coverage)) * (len(own) + 1) + 1e-9)  # images whose true class may be lost
        # Rounded down, so that the last bits of another processor lose no class.
        least[coverage] = math.floor(1e6 * own[missed - 1]) / 1e6 if missed else 0.0
    return Calibration(temperature=temperature, least=least)


def calibrated(spec: ModelSpec, logits: NDArray[np.floating], labels: NDArray[np.int64]) -> ModelSpec:
    """Return the spec of a trained network with the calibration by its validation logits (N, K) and labels (N,)."""
    return spec.model_copy(update={"calibration": calibrate(logits, labels)})
