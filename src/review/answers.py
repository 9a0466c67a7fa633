"""Two models' answers to the same images: what can be compared, and which images, classes and confusions changed.

A table of answers is `reports/validation_predictions.csv` or `predictions.csv` (see `src.evaluation.predictions`).
"""

from dataclasses import dataclass

import numpy as np
import pandas

from src.stats.intervals import Floats
from src.stats.verdicts import Judgement, judge

# Probabilities are written with 6 decimals, so that a 0 means anything below half of the last one.
_SMALLEST = 5e-7


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
    """How often a class was taken for another."""

    label: str
    prediction: str
    base: int
    head: int


@dataclass(frozen=True)
class Comparison(Judgement):
    broken: tuple[Flip, ...]  # right before, wrong now; the largest loss of probability first
    fixed: tuple[Flip, ...]
    classes: tuple[ClassChange, ...]  # those that changed, the most first
    confusions: tuple[ConfusionChange, ...]


def obstacle(base: pandas.DataFrame, head: pandas.DataFrame) -> str | None:
    """Return why answers cannot be compared image by image; None if they can."""
    if not len(base) or not len(head):
        return "there are no images"
    if len(base) != len(head):
        return f"{len(base):,} images became {len(head):,}"
    for column, what in (("name", "other images, or in another order"), ("label", "other labels")):
        if changed := int((base[column].to_numpy() != head[column].to_numpy()).sum()):
            return f"{what}: {changed:,} of {len(base):,} differ"
    return None


def compare(base: pandas.DataFrame, head: pandas.DataFrame, margin: float) -> Comparison:
    """Compare answers to the same images; `margin` is a share of 1. Raises `ValueError` if there is an `obstacle`."""
    if reason := obstacle(base, head):
        raise ValueError(reason)
    codes, _ = pandas.factorize(np.concatenate([base["label"], base["prediction"], head["prediction"]]))
    labels, before, after = np.split(codes, 3)
    judgement = judge(labels, (before, after), (log_loss(base), log_loss(head)), margin)
    was, now = before == labels, after == labels
    answers = base[["index", "name", "label"]].assign(base=base["prediction"], head=head["prediction"])
    order = np.argsort((head["label_probability"] - base["label_probability"]).to_numpy(), kind="stable")
    broken, fixed = order[(was & ~now)[order]], order[(now & ~was)[order]][::-1]
    right = answers[["label"]].assign(images=1, base=was, head=now).groupby("label")
    classes = right.mean().assign(images=right.size())
    confusions = pandas.DataFrame({side: answers.groupby(["label", side]).size() for side in ("base", "head")}).fillna(
        0
    )
    mistakes = confusions[[label != prediction for label, prediction in confusions.index]].astype(int)
    return Comparison(
        **vars(judgement),
        broken=tuple(Flip(*row) for row in answers.iloc[broken].itertuples(index=False)),
        fixed=tuple(Flip(*row) for row in answers.iloc[fixed].itertuples(index=False)),
        classes=tuple(ClassChange(*row) for row in _changed(classes).itertuples()),
        confusions=tuple(ConfusionChange(*names, *counts) for names, *counts in _changed(mistakes).itertuples()),
    )


def _changed(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return the rows whose `base` and `head` differ, those that differ most first."""
    change = (table["head"] - table["base"]).abs()
    return table.loc[change[change > 0].sort_values(ascending=False, kind="stable").index]


def log_loss(table: pandas.DataFrame) -> Floats:
    """Return −ln of the label's probability of each image (N,), as exactly as the table's 6 decimals tell."""
    return np.asarray(-np.log(np.maximum(table["label_probability"].to_numpy(dtype=np.float64), _SMALLEST)))
