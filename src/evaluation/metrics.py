"""From logits and labels to the numbers of `reports/metrics.json`."""

from itertools import compress

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from src.evaluation.logits import log_probabilities
from src.stats.groups import Groups, design_effect, group_sizes, sum_by_group, widened
from src.stats.intervals import Floats, bootstrap, wilson
from src.stats.macro_f1 import add_two, balanced_accuracy, class_counts, macro_f1, total

ECE_BINS = 15
_TOP = 5
_DECIMALS = 6  # below what an image more or less changes, and short enough to read in a diff


def measure(logits: NDArray[np.floating], labels: NDArray[np.int64], groups: Groups = None) -> dict[str, float | int]:
    """Measure logits (N, K) against labels (N,), each metric with its 95 % interval as `…_ci_low`, `…_ci_high`.

    groups: those of the images (N,), which alone count as independent; None if each image does. Their number is
    returned, too. Without images return `images: 0` alone. Raises `UserError` if a logit is not finite.
    """
    if not len(labels):
        return {"images": 0}
    scores = log_probabilities(logits)
    counts = {"images": len(labels)} | ({} if groups is None else {"groups": len({*groups})})
    return counts | _of_answers(scores, labels, groups) | of_probabilities(scores, labels, groups)


def _of_answers(scores: Floats, labels: NDArray[np.int64], groups: Groups) -> dict[str, float]:
    """Measure how often the most probable class, or one of the first five, is the label.

    Intervals of `accuracy`, `top5_accuracy` (only with more than five classes) and `worst_class_accuracy` are
    Wilson's; the worst class has that of its row in the per-class table, without a correction for having been picked.
    The others are percentile bootstraps over the images, or groups, and two more images (`add_two`), moved by what the
    median of the resamples is off:

    - `macro_f1`: mean F1 of the classes that occur among labels or predictions.
    - `balanced_accuracy`: mean accuracy of the classes, each of which counts the same however many images it has.
    """
    classes = scores.shape[1]
    predicted = scores.argmax(axis=1)
    correct = predicted == labels
    result = share_of("accuracy", correct, groups)
    if classes > _TOP:
        first = np.argsort(-scores, axis=1, kind="stable")[:, :_TOP]  # of equal scores the lower class, as `argmax`
        result |= share_of("top5_accuracy", (first == labels[:, None]).any(axis=1), groups)
    counts = class_counts(labels, predicted, classes)
    labelled, _, hits = np.split(total(counts)[0], 3)
    worst = int(np.nanargmin(hits / np.where(labelled > 0, labelled, np.nan)))
    result |= share_of("worst_class_accuracy", correct, groups, labels == worst)

    def of_sums(sums: Floats) -> Floats:
        return np.column_stack([macro_f1(sums), balanced_accuracy(sums)])

    values, resampled = of_sums(total(counts))[0], add_two(sum_by_group(counts, groups))
    lows, medians, highs = bootstrap(resampled, of_sums)
    sizes = None if groups is None else group_sizes(groups)
    shifts = of_sums(total(resampled))[0] - medians  # few of a class: the macro F1 of resamples is lower on average
    for name, value, low, high in zip(
        ("macro_f1", "balanced_accuracy"), values, lows + shifts, highs + shifts, strict=True
    ):
        low, high = min(low, value), max(high, value)
        if sizes is not None:  # else the two more images make up for few
            low, high = widened(low, value, high, sizes)
        result |= _with_ends(name, value, low, high, most=1)
    return result


def of_probabilities(scores: Floats, labels: NDArray[np.int64], groups: Groups = None) -> dict[str, float]:
    """Measure log-probabilities (N, K), N above 0, against labels (N,), with 95 % bootstrap intervals over images.

    groups: as of `measure`; the bootstrap is over groups, each image being one if they are None.

    - `loss`: mean cross entropy in nats.
    - `brier`: Σ over classes of (probability − one-hot)², 0 to 2, mean over images (Brier 1950).
    - `ece`: expected calibration error, mean |accuracy − confidence| over 15 equal-width bins of confidence, weighted
      by their images (Guo et al., "On calibration of modern neural networks", ICML 2017). Luck makes it too large, in
      resamples once more: their quantiles would not hold the true error. The interval has those errors from which this
      one could come: of gaps that are the seen ones times a share, 0 to 2, with the luck of the resamples.

    Resamples hold no mistake that was not seen: where few images or none are wrong, the upper ends are too low.
    """
    images = len(labels)
    each = np.arange(images)
    probabilities, predicted = np.exp(scores), scores.argmax(axis=1)
    confidence = probabilities[each, predicted]

    # What each image adds to sums (N, 1 + 2 + 15): itself, loss, Brier score, and correct − confidence in the column of
    # its bin.
    loss = -scores[each, labels]
    brier = (probabilities**2).sum(axis=1) - 2 * probabilities[each, labels] + 1
    gap = (predicted == labels) - confidence
    bins = csr_array((gap, confidence_bins(confidence), np.arange(images + 1)), (images, ECE_BINS))
    features = csr_array(hstack([csr_array(np.stack([np.ones(images), loss, brier], axis=1)), bins]))
    means = total(features)[:, 1:] / images
    gaps = means[:, 2:]
    shares = np.linspace(0, 2, 41)

    def of_sums(sums: Floats) -> Floats:
        """Return loss, Brier score, and the ECE at each of `shares`, (R, 2 + 41)."""
        drawn = sums[:, 1:] / sums[:, :1]
        luck = drawn[:, 2:] - gaps
        return np.column_stack([drawn[:, :2], *(np.abs(share * gaps + luck).sum(axis=1) for share in shares)])

    lows, _, highs = bootstrap(sum_by_group(features, groups), of_sums)
    loss_mean, brier_mean, ece = float(means[0, 0]), float(means[0, 1]), float(np.abs(gaps).sum())
    sizes = np.ones(images, np.intp) if groups is None else group_sizes(groups)
    # Smaller gaps would hardly ever give so large an error, larger ones hardly ever so small a one.
    least, most = (np.interp(ece, np.maximum.accumulate(ends[2:]), shares) for ends in (highs, lows))
    return (
        _with_ends("loss", loss_mean, *widened(lows[0], loss_mean, highs[0], sizes))
        | _with_ends("brier", brier_mean, *widened(lows[1], brier_mean, highs[1], sizes), most=2)
        | _with_ends("ece", ece, *widened(min(least, 1) * ece, ece, max(most, 1) * ece, sizes), most=1)
    )


def unseen_accuracy(
    logits: NDArray[np.floating], labels: NDArray[np.int64], copies: NDArray[np.bool_], groups: Groups = None
) -> dict[str, float | int]:
    """Measure the accuracy on the images that are no `copies` (N,) of training images, as `unseen_accuracy`.

    Such copies are on both sides only where the source's own splits put them. Nothing if none or all images are copies.
    """
    if copies.all() or not copies.any():
        return {}
    correct = logits.argmax(axis=1) == labels
    return {"unseen_images": int((~copies).sum())} | share_of("unseen_accuracy", correct, groups, ~copies)


def share_of(
    name: str, correct: NDArray[np.bool_], groups: Groups, chosen: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Return the share of correct answers (N,), of all or of the chosen images, with Wilson's interval."""
    if chosen is not None:
        correct, groups = correct[chosen], None if groups is None else list(compress(groups, chosen))
    low, high = wilson(correct.sum(), len(correct), design_effect(correct, groups))
    return _with_ends(name, correct.mean(), float(low), float(high))


def _with_ends(name: str, value: float, low: float, high: float, most: float = np.inf) -> dict[str, float]:
    """Return a value, which lies from 0 to `most`, and the ends of its interval unless they are infinite."""
    found = {name: value}
    if np.isfinite(low) and np.isfinite(high):
        found |= {f"{name}_ci_low": max(low, 0), f"{name}_ci_high": min(high, most)}
    return {key: round(float(number), _DECIMALS) for key, number in found.items()}


def confidence_bins(confidence: Floats) -> NDArray[np.int64]:
    """Return the bin, 0 to 14, of each confidence: open below, closed above, as in the reference code of Guo et al."""
    return np.clip(np.ceil(confidence * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
