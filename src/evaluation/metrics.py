"""From logits and labels to the numbers of `reports/metrics.json`."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from src.evaluation.logits import log_probabilities, ranks
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
    - `macro_f1`: mean F1 of the classes that occur among labels or predictions. A handful of images per class pull its
      interval down, since a resample misses some of them.
    - `ece`: expected calibration error, mean |accuracy − confidence| over 15 equal-width bins of confidence, weighted
      by their images (Guo et al., "On calibration of modern neural networks", ICML 2017). Luck makes few images of a
      well calibrated model look miscalibrated, and their resamples more so: their quantiles would not hold the true
      error. The interval has those errors from which this one could come: if the true gaps of the bins were the seen
      ones times a share, from 0 to 2, and the luck that of the resamples.
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
    sums = total(features)
    gaps = sums[:, 2 : 2 + ECE_BINS] / images
    ece = float(np.abs(gaps).sum())
    shares = np.linspace(0, 2, 41)

    def from_sums(sums: Floats) -> Floats:
        """Return loss, Brier score, macro F1, balanced accuracy, and the ECE at each of `shares`, (R, 4 + 41)."""
        luck = sums[:, 2 : 2 + ECE_BINS] / images - gaps
        errors = [np.abs(share * gaps + luck).sum(axis=1) for share in shares]
        counts = sums[:, 2 + ECE_BINS :]
        return np.column_stack([sums[:, :2] / images, macro_f1(counts), balanced_accuracy(counts), *errors])

    values, (lows, highs) = from_sums(sums)[0], bootstrap(features, from_sums)
    for k, name in enumerate(("loss", "brier", "macro_f1", "balanced_accuracy")):
        result |= _with_ends(name, values[k], lows[k], highs[k])
    # Smaller gaps would hardly ever give so large an error, larger ones hardly ever so small a one.
    least, most = (np.interp(ece, np.maximum.accumulate(ends[4:]), shares) for ends in (highs, lows))
    return result | _with_ends("ece", ece, min(least, 1) * ece, max(most, 1) * ece)


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
