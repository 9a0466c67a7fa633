"""From logits and labels to the numbers of `reports/metrics.json`."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from src.evaluation.outputs import log_probabilities, ranks
from src.stats.intervals import Floats, bootstrap, wilson
from src.stats.macro_f1 import balanced_accuracy, class_counts, macro_f1, total

ECE_BINS = 15
_TOP = 5
_DECIMALS = 6  # below what an image more or less changes, and short enough to read in a diff


def measure(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> dict[str, float | int]:
    """Measure logits (N, K) against labels (N,), each metric with its 95 % interval as `…_ci_low`, `…_ci_high`.

    Intervals of `accuracy`, `top5_accuracy` (only with more than five classes) and `worst_class_accuracy` are
    Wilson's; the worst class has that of its row in the per-class table, without a correction for having been picked.
    The others are percentile bootstraps over images:

    - `balanced_accuracy`: mean accuracy of the classes, each of which counts the same however many images it has.
    - `loss`: mean cross entropy in nats.
    - `macro_f1`: mean F1 of the classes that occur among labels or predictions.
    - `ece`: expected calibration error, mean |accuracy − confidence| over 15 equal-width bins of confidence, weighted
      by their images (Guo et al., "On calibration of modern neural networks", ICML 2017). Few images make a
      well calibrated model look worse than it is, and resamples of them worse still: the interval is moved by as much
      as these are worse on average. A handful of images per class pull the interval of `macro_f1` down, since a
      resample misses some of them.
    - `brier`: Σ over classes of (probability − one-hot)², 0 to 2, mean over images (Brier 1950).

    Without images return `images: 0` alone. Raises `UserError` if a logit is not finite.
    """
    if not len(labels):
        return {"images": 0}
    images, classes = logits.shape
    each = np.arange(images)
    scores = log_probabilities(logits)
    probabilities, predicted = np.exp(scores), scores.argmax(axis=1)
    confidence = probabilities[each, predicted]
    correct = predicted == labels
    result: dict[str, float | int] = {"images": images} | _share("accuracy", int(correct.sum()), images)
    if classes > _TOP:
        result |= _share("top5_accuracy", int((ranks(scores, labels) <= _TOP).sum()), images)
    per_class = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[correct], minlength=classes)
    worst = int(np.nanargmin(hits / np.where(per_class, per_class, np.nan)))
    result |= _share("worst_class_accuracy", int(hits[worst]), int(per_class[worst]))

    # What each image adds to the sums that the other metrics are made of, (N, 2 + 15 + 3K): loss, Brier score,
    # correct − confidence in the column of its bin, and the counts by class.
    loss = -scores[each, labels]
    brier = (probabilities**2).sum(axis=1) - 2 * probabilities[each, labels] + 1
    bins = csr_array((correct - confidence, confidence_bins(confidence), np.arange(images + 1)), (images, ECE_BINS))
    parts = [csr_array(np.stack([loss, brier], axis=1)), bins, class_counts(labels, predicted, classes)]
    features = csr_array(hstack(parts))

    def from_sums(sums: Floats) -> Floats:
        """Return loss, Brier score, ECE, macro F1 and balanced accuracy (R, 5) of R summed resamples."""
        ece = np.abs(sums[:, 2 : 2 + ECE_BINS]).sum(axis=1) / images
        counts = sums[:, 2 + ECE_BINS :]
        return np.column_stack([sums[:, :2] / images, ece, macro_f1(counts), balanced_accuracy(counts)])

    values = from_sums(total(features))[0]
    lows, highs, means = bootstrap(features, from_sums)
    names = ("loss", "brier", "ece", "macro_f1", "balanced_accuracy")
    for name, value, low, high, mean in zip(names, values, lows, highs, means, strict=True):
        bias = mean - value if name == "ece" else 0.0
        result |= _with_ends(name, value, max(low - bias, 0.0), high - bias)
    return result


def unseen_accuracy(
    logits: NDArray[np.floating], labels: NDArray[np.int64], copies: NDArray[np.bool_]
) -> dict[str, float | int]:
    """Measure the accuracy on the images that are no `copies` (N,) of training images, as `unseen_accuracy`.

    Such copies are on both sides only where the source's own splits put them. Nothing if none or all images are copies.
    """
    if copies.all() or not copies.any():
        return {}
    correct = (logits.argmax(axis=1) == labels)[~copies]
    return {"unseen_images": len(correct)} | _share("unseen_accuracy", int(correct.sum()), len(correct))


def _share(name: str, successes: int, trials: int) -> dict[str, float | int]:
    low, high = wilson(successes, trials)
    return _with_ends(name, successes / trials, float(low), float(high))


def _with_ends(name: str, value: float, low: float, high: float) -> dict[str, float | int]:
    found = {name: value, f"{name}_ci_low": low, f"{name}_ci_high": high}
    return {key: round(float(number), _DECIMALS) for key, number in found.items()}


def confidence_bins(confidence: Floats) -> NDArray[np.int64]:
    """Return the bin, 0 to 14, of each confidence: open below, closed above, as in the reference code of Guo et al."""
    return np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
