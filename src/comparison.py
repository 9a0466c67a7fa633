"""Two models' answers to the same images → which is better, and what changed. Knows neither git nor MLflow.

A table of answers is `reports/validation_predictions.csv` or `predictions.csv` (see `src.evaluation.predictions`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas
from numpy.typing import NDArray
from scipy.sparse import csr_array

from src import significance as s
from src.statistics import Floats, mean_interval

Verdict = Literal["worse", "better", "equivalent", "no evidence"]

# Probabilities are written with 6 decimals, so that a 0 means anything below half of the last one.
_SMALLEST = 5e-7


@dataclass(frozen=True)
class Difference:
    """A metric of both models: `difference` is head − base; `gain` is its sign, turned so that above 0 is better."""

    name: str
    base: float
    head: float
    difference: float
    low: float  # 95 %, not adjusted for the other metrics
    high: float
    p: float
    adjusted: float  # Holm, over the three
    gain: int
    verdict: Literal["worse", "better", "no evidence"]


@dataclass(frozen=True)
class Flip:
    """An image that only one of the models has right."""

    index: int  # of the image in its split
    name: str
    label: str
    base: str
    head: str


@dataclass(frozen=True)
class ClassChange:
    name: str
    images: int
    base: float  # share of its images that are recognised
    head: float


@dataclass(frozen=True)
class ConfusionChange:
    label: str
    prediction: str
    base: int
    head: int


@dataclass(frozen=True)
class Comparison:
    images: int
    verdict: Verdict
    differences: tuple[Difference, ...]  # accuracy, log loss, macro F1
    equivalence: tuple[float, float]  # 90 % interval of the difference of accuracy
    margin: float
    smallest: float  # the smallest difference of accuracy that so many images could have shown
    broken: tuple[Flip, ...]  # right before, wrong now; the largest loss of probability first
    fixed: tuple[Flip, ...]
    classes: tuple[ClassChange, ...]  # those that changed, the most first
    confusions: tuple[ConfusionChange, ...]


def obstacle(base: pandas.DataFrame, head: pandas.DataFrame) -> str | None:
    """Why answers cannot be compared image by image; None where they can."""
    if not len(base) or not len(head):
        return "there are no images"
    if len(base) != len(head):
        return f"{len(base):,} images became {len(head):,}"
    for column, what in (("name", "other images, or in another order"), ("label", "other labels")):
        if changed := int((base[column].to_numpy() != head[column].to_numpy()).sum()):
            return f"{what}: {changed:,} of {len(base):,} differ"
    return None


def compare(base: pandas.DataFrame, head: pandas.DataFrame, margin: float) -> Comparison:
    """Compares answers to the same images; `margin` is a share of 1. Raises `ValueError` where `obstacle` has one.

    Verdict: worse where one of the three metrics is significantly worse (Holm over the three, 5 %), else better where
    one is better, else equivalent where the 90 % interval of the difference of accuracy lies inside ±margin.
    """
    if reason := obstacle(base, head):
        raise ValueError(reason)
    labels, before, after, classes = _codes(base, head)
    was, now = before == labels, after == labels
    broken, fixed = int((was & ~now).sum()), int((now & ~was).sum())
    images = len(labels)
    differences = _differences(base, head, labels, before, after, len(classes))
    equivalence = s.accuracy_interval(broken, fixed, images, s.EQUIVALENCE_LEVEL)
    found = {each.verdict for each in differences}
    verdict: Verdict = "no evidence"
    if "worse" in found:
        verdict = "worse"
    elif "better" in found:
        verdict = "better"
    elif -margin < equivalence[0] and equivalence[1] < margin:
        verdict = "equivalent"
    change = (head["label_probability"] - base["label_probability"]).to_numpy()
    return Comparison(
        images=images,
        verdict=verdict,
        differences=differences,
        equivalence=equivalence,
        margin=margin,
        smallest=s.smallest_difference(broken + fixed, images, s.ALPHA / len(differences)),
        broken=_flips(base, head, was & ~now, change),
        fixed=_flips(base, head, now & ~was, -change),
        classes=_class_changes(labels, was, now, classes),
        confusions=_confusion_changes(labels, before, after, classes),
    )


def log_loss(table: pandas.DataFrame) -> Floats:
    """−ln of the label's probability of each image (N,), as exactly as the table's 6 decimals tell."""
    return np.asarray(-np.log(np.maximum(table["label_probability"].to_numpy(dtype=np.float64), _SMALLEST)))


Codes = NDArray[np.intp]


def _codes(base: pandas.DataFrame, head: pandas.DataFrame) -> tuple[Codes, Codes, Codes, list[str]]:
    """Labels and both predictions as numbers (N,), and the names of the classes that occur, sorted."""
    names = np.concatenate([base["label"], base["prediction"], head["prediction"]])
    codes, classes = pandas.factorize(names, sort=True)
    labels, before, after = np.split(codes, 3)
    return labels, before, after, [str(name) for name in classes]


def _differences(
    base: pandas.DataFrame, head: pandas.DataFrame, labels: Codes, before: Codes, after: Codes, classes: int
) -> tuple[Difference, ...]:
    images = len(labels)
    was, now = before == labels, after == labels
    losses = log_loss(base), log_loss(head)
    labelled = np.bincount(labels, minlength=classes).astype(np.float64)

    def statistic(sums: Floats) -> Floats:
        f1 = s.macro_f1(labelled, sums[:, 1 : 1 + classes], sums[:, 1 + classes :])
        return np.column_stack([sums[:, 0] / images, f1])

    first, second = _features(labels, before, losses[0], classes), _features(labels, after, losses[1], classes)
    p_loss, p_f1 = s.swap_test(first, second, statistic)
    values = [statistic(np.asarray(each.sum(axis=0), dtype=np.float64)[None])[0].tolist() for each in (first, second)]
    broken, fixed = int((was & ~now).sum()), int((now & ~was).sum())
    unknown = float("nan")  # one image has no spread
    rows = [
        ("accuracy", was.mean(), now.mean(), s.accuracy_interval(broken, fixed, images), s.mcnemar(broken, fixed), 1),
        (
            "log loss",
            values[0][0],
            values[1][0],
            mean_interval(losses[1] - losses[0]) if images > 1 else (unknown, unknown),
            p_loss,
            -1,
        ),
        ("macro F1", values[0][1], values[1][1], s.macro_f1_interval(labels, before, after), p_f1, 1),
    ]
    adjusted = s.holm([row[4] for row in rows])
    return tuple(
        _difference(name, float(old), float(new), interval, float(p), float(holm), direction)
        for (name, old, new, interval, p, direction), holm in zip(rows, adjusted, strict=True)
    )


def _difference(
    name: str, old: float, new: float, interval: tuple[float, float], p: float, adjusted: float, direction: int
) -> Difference:
    gain = direction * int(np.sign(new - old))
    verdict: Literal["worse", "better", "no evidence"] = "no evidence"
    if adjusted <= s.ALPHA:
        verdict = "better" if gain > 0 else "worse"
    return Difference(name, old, new, new - old, *interval, p, adjusted, gain, verdict)


def _features(labels: Codes, predicted: Codes, loss: Floats, classes: int) -> csr_array:
    """What each answer adds to sums (N, 1 + 2K): its loss, and one-hot by class the prediction and the hit."""
    each = np.arange(len(labels))
    values = np.concatenate([loss, np.ones(len(labels)), predicted == labels])
    columns = np.concatenate([np.zeros_like(each), 1 + predicted, 1 + classes + labels])
    return csr_array((values, (np.tile(each, 3), columns)), shape=(len(labels), 1 + 2 * classes))


def _flips(
    base: pandas.DataFrame, head: pandas.DataFrame, chosen: NDArray[np.bool_], order: Floats
) -> tuple[Flip, ...]:
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(order[rows], kind="stable")]
    columns = (base["index"], base["name"], base["label"], base["prediction"], head["prediction"])
    return tuple(
        Flip(int(index), *texts) for index, *texts in zip(*(column.iloc[rows] for column in columns), strict=True)
    )


def _class_changes(
    labels: Codes, was: NDArray[np.bool_], now: NDArray[np.bool_], classes: list[str]
) -> tuple[ClassChange, ...]:
    images, before, after = (np.bincount(labels[rows], minlength=len(classes)) for rows in (slice(None), was, now))
    changed = np.flatnonzero(before != after)
    order = np.argsort(-np.abs(after - before)[changed] / images[changed], kind="stable")
    return tuple(
        ClassChange(classes[k], int(images[k]), float(before[k] / images[k]), float(after[k] / images[k]))
        for k in changed[order].tolist()
    )


def _confusion_changes(labels: Codes, before: Codes, after: Codes, classes: list[str]) -> tuple[ConfusionChange, ...]:
    """Mistakes alone: how often a class was taken for which other one."""
    k = len(classes)
    old, new = (np.bincount(labels * k + predicted, minlength=k * k).reshape(k, k) for predicted in (before, after))
    changed = (old != new) & ~np.eye(k, dtype=np.bool_)
    rows, columns = np.nonzero(changed)
    order = np.argsort(-np.abs(new - old)[rows, columns], kind="stable")
    return tuple(
        ConfusionChange(classes[row], classes[column], int(old[row, column]), int(new[row, column]))
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    )
