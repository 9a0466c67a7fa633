"""Tell if a model that was trained again differs from the committed one by no more than luck.

Another processor rounds otherwise, and another rounding acts like another seed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.core.paths import PREDICTIONS
from src.evaluation import tables
from src.review.gather import FEWEST_SEEDS, seed_accuracies
from src.review.revision import Revision
from src.stats.intervals import difference_of_two
from src.stats.paired import accuracy_interval


class Finding(NamedTuple):
    what: str  # "test accuracy"
    text: str  # what it was, what it is now, and how much luck explains
    lucky: bool  # it differs by no more than that


def findings(committed: Revision, again: Mapping[Path, bytes]) -> Iterator[Finding]:
    """Compare the committed accuracies with those of a model that was trained again.

    again: the contents of its tables of answers, by path. If `reports/seeds.csv` has three seeds of this recipe,
    accuracies may differ by as much as 95 % of pairs of seeds do. Otherwise, or if these seeds are all alike, the
    paired 95 % interval of the difference must hold 0. Log loss is not tested: rounding can move every answer a little
    in the same direction, which a paired test would find.
    """
    seeds = seed_accuracies(committed)
    for path, content in again.items():
        split = "test" if path == PREDICTIONS else "validation"
        before, after = committed.table(path), tables.parse(content)
        if before is None:
            yield Finding(f"{split} images", "are not committed", False)
            continue
        if not len(before) and not len(after):
            continue  # the recipe has no such images
        if not before[["name", "label"]].equals(after[["name", "label"]]):
            yield Finding(f"{split} images", "are others, or have other labels", False)
            continue
        right = [(each["label"] == each["prediction"]).to_numpy() for each in (before, after)]
        was, now = (float(each.mean()) for each in right)
        text = f"{100 * was:.2f} → {100 * now:.2f} %"
        values = np.array([]) if seeds is None else seeds[f"{split}_accuracy"].dropna().to_numpy(np.float64)
        if len(values) >= FEWEST_SEEDS and np.ptp(values):
            reach = difference_of_two(values)
            text += f"; two seeds differ by at most {100 * reach:.2f} points (95 %, from {len(values)})"
            yield Finding(f"{split} accuracy", text, abs(now - was) <= reach)
        else:
            low, high = accuracy_interval(right[0], right[1], after.get("group"))
            lucky = low <= 0 <= high
            text += f"; 95 % interval of the difference {100 * low:+.2f} to {100 * high:+.2f} points"
            text += "" if lucky else ": if seeds differ as much, python -m src.seeds --runs 5 shows it"
            yield Finding(f"{split} accuracy", text, lucky)
