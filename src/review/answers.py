"""Compare two models' answers to the same images: the verdict, and which images, classes and confusions changed.

A table of answers is `reports/validation_predictions.csv` or `predictions.csv` (see `src.evaluation.predictions`).
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from src.core.errors import UserError
from src.core.paths import PREDICTIONS, RAW, VALIDATION_PREDICTIONS
from src.core.words import counted
from src.data.prepared import SplitName, split_folder
from src.review.revision import Revision
from src.stats.groups import design_effect
from src.stats.intervals import Floats, wilson
from src.stats.verdicts import judge

_PATHS: dict[SplitName, Path] = {"validation": VALIDATION_PREDICTIONS, "test": PREDICTIONS}
_ALIKE = 0.9  # share of the images, and of their labels, that must be the same on both sides
_SMALLEST = 5e-7  # a probability that is written as 0.000000 may be as large as this


def compare_split(base: Revision, head: Revision, split: SplitName, margin: float) -> dict[str, Any]:
    """Return the `comparison` of the models' answers to the images of a split, or the `obstacle` to it.

    If the prepared images or their source have the same digest, images with equal names are the same, even if they are
    prepared otherwise. Else those are the same whose pixels have the same digest, whatever their names.
    """
    found = {"comparison": None, "obstacle": None}
    path = _PATHS[split]
    before, after = read_answers(base, path), read_answers(head, path)
    if before is None or after is None:
        return {**found, "obstacle": f"the {'head' if after is None else 'base'} has no {path}"}
    digests = ([side.output(each).get("md5") for side in (base, head)] for each in (split_folder(split), RAW))
    try:
        pairs, corrected = pair(before, after, any(old == new is not None for old, new in digests))
    except UserError as error:
        return {**found, "obstacle": str(error)}
    comparison = {**compare(pairs, margin), "corrected": corrected}
    if head.has_model_of(base):
        comparison["verdict"] = "equivalent"  # however few images there are
    return {**found, "comparison": comparison}


def read_answers(revision: Revision, path: Path) -> pandas.DataFrame | None:
    """Return a table of answers, None if it is missing. Raises `UserError` if it is damaged."""
    table = revision.table(path, "index", "name", "label", "prediction", "label_probability")
    if table is not None and not table["label_probability"].between(0, 1).all():
        raise revision.damaged(path, "is damaged (it has a label_probability outside of 0 to 1)", "run dvc repro")
    return table


def validation_accuracy(revision: Revision) -> list[float] | None:
    """Return the share of right answers and the ends of its 95 % interval, None without answers."""
    answers = read_answers(revision, VALIDATION_PREDICTIONS)
    if answers is None or not len(answers):
        return None
    right = (answers["label"] == answers["prediction"]).to_numpy()
    effect = design_effect(right, answers.get("group"))
    return [right.mean(), *(float(end) for end in wilson(right.sum(), len(right), effect))]


def pair(base: pandas.DataFrame, head: pandas.DataFrame, same_names: bool = True) -> tuple[pandas.DataFrame, str]:
    """Return the images of both tables in the head's order, and in words what was corrected in between, or "".

    Columns of the base end with `_base`. `same_names`: images with equal names are the same; else those are whose
    pixels have the same digest, whatever their names. Raises `UserError` if the tables cannot be compared image by
    image; one in ten of the labels may differ.
    """
    if same_names:
        key = "name"
    elif "digest" in base and "digest" in head:
        key = "digest"
        base, head = base.drop_duplicates(key), head.drop_duplicates(key)
    else:
        raise UserError("other images under the same names: one side has no digests of pixels, which dvc repro adds")
    if not len(base) or not len(head):
        raise UserError("there are no images")
    if not (base[key].is_unique and head[key].is_unique):
        raise UserError("several images have the same name")
    pairs = head.merge(base, on=key, suffixes=("", "_base"))
    # Equal names may be chance: then nearly all must be shared. Equal pixels are not: half of the base's are enough.
    most, share = (max(len(base), len(head)), _ALIKE) if same_names else (len(base), 0.5)
    if len(pairs) < share * most:
        raise UserError(f"other images: {len(pairs):,} of {most:,} are shared")
    same = pairs["label"] == pairs["label_base"]
    known = pairs["label"].isin(pandas.concat([base["label"], base["prediction"]]))
    if same.mean() < _ALIKE or not known.all():
        raise UserError(f"other labels: {int((~same).sum()):,} of {len(pairs):,} differ")
    counts = (
        (int((~same).sum()), "label", "corrected"),
        (len(base) - len(pairs), "image", "removed"),
        (len(head) - len(pairs), "image", "added"),
        (len({*base["label"]} - {*head["label"]}), "class name", "no longer used"),
    )
    return pairs, ", ".join(f"{counted(count, what)} {done}" for count, what, done in counts if count)


def compare(pairs: pandas.DataFrame, margin: float) -> dict[str, Any]:
    """Compare the answers to the images that `pair` has found, by the head's labels.

    margin: a share of 1. The probability that the base gave to a corrected label is not known: it counts as the head's.

    Return the fields of a `Judgement`, and
    - `broken`, `fixed`: images that only the base has right, and only the head; first those whose label lost, or
      gained, most probability;
    - `classes`, `confusions`: those that changed, the largest changes first.
    """
    codes, _ = pandas.factorize(np.concatenate([pairs["label"], pairs["prediction_base"], pairs["prediction"]]))
    labels, before, after = np.split(codes, 3)
    was, now = before == labels, after == labels
    answers = pairs[["index", "name", "label"]].assign(base=pairs["prediction_base"], head=pairs["prediction"])
    probability = pairs["label_probability"]
    probability_before = pairs["label_probability_base"].where(pairs["label"] == pairs["label_base"], probability)
    losses = log_loss(probability_before), log_loss(probability)
    order = np.argsort((probability - probability_before).to_numpy(), kind="stable")
    right = answers[["label"]].assign(base=was, head=now).groupby("label")
    classes = right.mean().assign(images=right.size()).rename_axis("name").reset_index()
    counts = {side: answers.value_counts(["label", side]) for side in ("base", "head")}
    confusions = pandas.DataFrame(counts).fillna(0).astype(int).rename_axis(["label", "prediction"]).reset_index()
    return {
        **asdict(judge(labels, (before, after), losses, margin, pairs.get("group"))),
        "broken": _rows(answers.iloc[order[(was & ~now)[order]]]),
        "fixed": _rows(answers.iloc[order[(now & ~was)[order]][::-1]]),
        "classes": _changed(classes),
        "confusions": _changed(confusions[confusions["label"] != confusions["prediction"]]),
    }


def _changed(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """Return the rows whose `base` and `head` differ, the largest differences first."""
    change = (table["head"] - table["base"]).abs()
    return _rows(table.loc[change[change > 0].sort_values(ascending=False, kind="stable").index])


def _rows(table: pandas.DataFrame) -> list[dict[str, Any]]:
    """Return a table as plain rows, for JSON."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def log_loss(probability: "pandas.Series[float]") -> Floats:
    """Return −ln of the label's probability for each image (N,)."""
    return np.asarray(-np.log(np.maximum(probability.to_numpy(dtype=np.float64), _SMALLEST)))
