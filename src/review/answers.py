"""Compare two models' answers to the same images: the verdict, and which images, classes and confusions changed.

A table of answers is `reports/validation_predictions.csv` or `predictions.csv` (see `src.evaluation.predictions`).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from src.core.paths import LOCK, PREDICTIONS, RAW, VALIDATION_PREDICTIONS
from src.data.prepared import SplitName, split_folder
from src.review.revision import Revision
from src.stats.intervals import Floats
from src.stats.verdicts import judge

# Probabilities are written with 6 decimals, so that a 0 means anything below half of the last one.
_SMALLEST = 5e-7


def compare_split(base: Revision, head: Revision, split: SplitName, margin: float) -> dict[str, Any]:
    """Return the `comparison` of the models' answers to the images of a split, or the `obstacle` to it.

    `lacking` is the side without answers; `prepared_otherwise`: the same photos at another size, for instance.
    """
    found = {"comparison": None, "obstacle": None, "lacking": None, "prepared_otherwise": False}
    path = VALIDATION_PREDICTIONS if split == "validation" else PREDICTIONS
    before, after = read_answers(base, path), read_answers(head, path)
    if before is None or after is None:
        lacking = "head" if after is None else "base"
        return {**found, "obstacle": f"the {lacking} has no {path}", "lacking": lacking}
    images = split_folder(split)
    same_arrays, same_source = (
        base.output(each).get("md5") == head.output(each).get("md5") is not None for each in (images, RAW)
    )
    reason = obstacle(before, after)
    if reason is None and not same_arrays and not same_source:
        reason = f"other images under the same names ({LOCK} has another digest of {images} and of {RAW})"
    if reason is not None:
        return {**found, "obstacle": reason}
    return {**found, "comparison": compare(before, after, margin), "prepared_otherwise": not same_arrays}


def read_answers(revision: Revision, path: Path) -> pandas.DataFrame | None:
    """Return a table of answers; None if there is none, or if it is damaged and the revision is tolerant."""
    table = revision.table(path, "index", "name", "label", "prediction", "label_probability")
    if table is None:
        return None
    right = table["label_probability"].between(0, 1) & (table["index"] == table.index)
    if not right.all():
        row = int((~right).to_numpy().argmax())
        reason = f"is damaged (row {row + 2} has no probability of its label, or its index does not count the rows)"
        revision.refuse(path, reason, "run dvc repro")
        return None
    return table


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


def compare(base: pandas.DataFrame, head: pandas.DataFrame, margin: float) -> dict[str, Any]:
    """Compare answers to the same images; `margin` is a share of 1. Raises `ValueError` if there is an `obstacle`.

    Return the fields of a `Judgement`; the images that only the base (`broken`) or only the head (`fixed`) has right,
    those first whose label lost or won most probability; the `classes` and `confusions` that changed, the most first.
    """
    if reason := obstacle(base, head):
        raise ValueError(reason)
    codes, _ = pandas.factorize(np.concatenate([base["label"], base["prediction"], head["prediction"]]))
    labels, before, after = np.split(codes, 3)
    was, now = before == labels, after == labels
    answers = base[["index", "name", "label"]].assign(base=base["prediction"], head=head["prediction"])
    order = np.argsort((head["label_probability"] - base["label_probability"]).to_numpy(), kind="stable")
    right = answers[["label"]].assign(base=was, head=now).groupby("label")
    classes = right.mean().assign(images=right.size()).rename_axis("name").reset_index()
    counts = {side: answers.value_counts(["label", side]) for side in ("base", "head")}
    confusions = pandas.DataFrame(counts).fillna(0).astype(int).rename_axis(["label", "prediction"]).reset_index()
    return {
        **asdict(judge(labels, (before, after), (log_loss(base), log_loss(head)), margin)),
        "broken": _rows(answers.iloc[order[(was & ~now)[order]]]),
        "fixed": _rows(answers.iloc[order[(now & ~was)[order]][::-1]]),
        "classes": _changed(classes),
        "confusions": _changed(confusions[confusions["label"] != confusions["prediction"]]),
    }


def _changed(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """Return the rows whose `base` and `head` differ, those that differ most first."""
    change = (table["head"] - table["base"]).abs()
    return _rows(table.loc[change[change > 0].sort_values(ascending=False, kind="stable").index])


def _rows(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """Return a table as plain rows, for JSON."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def log_loss(table: pandas.DataFrame) -> Floats:
    """Return −ln of the label's probability of each image (N,), as exactly as the table's 6 decimals allow."""
    return np.asarray(-np.log(np.maximum(table["label_probability"].to_numpy(dtype=np.float64), _SMALLEST)))
