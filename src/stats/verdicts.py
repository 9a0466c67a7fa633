"""Judge which of two models is better by their answers to the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import csr_array, hstack

from src.stats.groups import Groups, mean_interval, sum_by_group
from src.stats.intervals import LEVEL, Floats
from src.stats.macro_f1 import class_counts, macro_f1, total
from src.stats.paired import accuracy_interval, macro_f1_interval, mcnemar, swap_test

ALPHA = 1 - LEVEL
EQUIVALENCE_LEVEL = 0.9  # an interval at this level is two one-sided tests at 5 %
POWER = 0.8

Verdict = Literal["worse", "better", "equivalent", "no evidence"]


@dataclass(frozen=True)
class Difference:
    """Hold a metric of both models."""

    name: str
    base: float
    head: float
    difference: float  # head − base
    low: float | None  # ends of its 95 % interval, not adjusted for the other metrics; None for a single image
    high: float | None
    p: float
    adjusted: float  # p by Holm, over the three metrics
    verdict: Literal["worse", "better", "no evidence"]


@dataclass(frozen=True)
class Judgement:
    """Hold the verdict on two models, and what it rests on."""

    images: int
    groups: int | None  # None where each image counts as independent
    rarest: int  # images of the rarest label
    verdict: Verdict
    differences: tuple[Difference, ...]  # accuracy, log loss, macro F1
    equivalence: tuple[float, float]  # 90 % interval of the difference of accuracy
    margin: float


def judge(
    labels: NDArray[np.intp], predicted: tuple[NDArray[np.intp], NDArray[np.intp]], losses: tuple[Floats, Floats],
    margin: float, groups: Groups = None,
) -> Judgement:  # fmt: skip
    """Judge the predictions (N,) and losses (N,) of two models; `margin` is a share of 1.

    groups: those of the images (N,), which alone count as independent; None if each image does.

    The verdict is worse if accuracy, log loss or macro F1 is significantly worse (5 %, Holm over the three). Else it is
    better if one of them is significantly better. Else it is equivalent if the 90 % interval of the difference of
    accuracy lies inside ±margin.
    """
    images, classes = len(labels), int(max(labels.max(), *(each.max() for each in predicted))) + 1
    was, now = (each == labels for each in predicted)
    first, second = (
        csr_array(hstack([csr_array(loss[:, None]), class_counts(labels, answers, classes)]))
        for loss, answers in zip(losses, predicted, strict=True)
    )

    def statistic(sums: Floats) -> Floats:
        hits = sums[:, -classes:].sum(axis=1)
        return np.column_stack([hits / images, sums[:, 0] / images, macro_f1(sums[:, 1:])])

    p_values = swap_test(sum_by_group(first, groups), sum_by_group(second, groups), statistic).tolist()
    if groups is None:  # then it can be computed exactly
        p_values[0] = mcnemar(int((was & ~now).sum()), int((now & ~was).sum()))
    base, head = (statistic(total(each))[0].tolist() for each in (first, second))
    intervals = (
        accuracy_interval(was, now, groups),
        mean_interval(losses[1] - losses[0], groups) if images > 1 else (None, None),
        macro_f1_interval(labels, *predicted, groups),
    )
    adjusted = holm(p_values).tolist()
    differences = tuple(
        Difference(
            name=name,
            base=base[k],
            head=head[k],
            difference=head[k] - base[k],
            low=intervals[k][0],
            high=intervals[k][1],
            p=p_values[k],
            adjusted=adjusted[k],
            verdict=verdict(adjusted[k], sign * (head[k] - base[k])),
        )
        for k, (name, sign) in enumerate([("accuracy", 1), ("log loss", -1), ("macro F1", 1)])
    )
    found = {each.verdict for each in differences}
    equivalence = accuracy_interval(was, now, groups, EQUIVALENCE_LEVEL)
    undecided = without_evidence(equivalence, margin)
    return Judgement(
        images=images,
        groups=None if groups is None else len({*groups}),
        rarest=int(np.unique(labels, return_counts=True)[1].min()),
        verdict="worse" if "worse" in found else "better" if "better" in found else undecided,
        differences=differences,
        equivalence=equivalence,
        margin=margin,
    )


def verdict(p: float, gain: float) -> Literal["worse", "better", "no evidence"]:
    """Return the verdict of a test at `ALPHA`. A gain above 0 means that the second model is better."""
    if p > ALPHA:
        return "no evidence"
    return "better" if gain > 0 else "worse"


def without_evidence(equivalence: tuple[float, float], margin: float) -> Literal["equivalent", "no evidence"]:
    """Return the verdict on a difference that is not significant, by its 90 % interval."""
    return "equivalent" if -margin < equivalence[0] and equivalence[1] < margin else "no evidence"


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Adjust p-values for the number of tests, so that each can be compared with `ALPHA`. NaN counts as a p of 1.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    known = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(known, kind="stable")  # NaN last
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(known[order] * np.arange(len(order), 0, -1)))
    return adjusted


def images_for_margin(flips: int, images: int, margin: float) -> int:
    """Return about how many images show of an equally good model, in four of five cases, that it is not worse.

    Not worse means that the lower end of the 90 % interval lies above −margin. Flips stay as frequent as they were in
    `images`; without any flip, one is assumed. To the usual approximation, which is too optimistic if few images change
    sides, it adds the images that Tango's interval asks for without flips, whose ends are ±z² / (n + z²).
    """
    z, power = float(stats.norm.ppf(LEVEL)), float(stats.norm.ppf(POWER))
    return ceil(max(flips, 1) / images * ((z + power) / margin) ** 2 + z**2 * (1 - margin) / margin)
