"""Where a change has new data and new code, find by runs of one of them alone which of both moved the numbers."""

from collections.abc import Sequence
from math import hypot
from typing import Any

from src.review.answers import accuracy, compare_split
from src.review.commits import differs
from src.review.revision import Revision


def factors(base: Revision, head: Revision, steps: Sequence[Revision], margin: float) -> dict[str, Any] | None:
    """Compare old and new data with old and new code (or parameters); return None if only one of them changed.

    steps: the runs of the change, among which those with one of both are looked for.

    Return `runs`, a table of accuracies by code (rows) and data (columns), old before new, None where there is no run;
    and `moves`, comparisons of two runs that differ in one of both, as `compare_split` returns them. A move has also
    the `difference` of the accuracies as of independent images, for where these cannot be paired.
    """
    changed = differs(base, head)
    if "data" not in changed or changed == ["data"]:
        return None
    found = {("old", "old"): base, ("new", "new"): head}  # by data and code
    for each in steps:
        before, after = differs(base, each), differs(each, head)
        if before == ["data"] and "data" not in after:
            found["new", "old"] = each
        elif "data" not in before and after == ["data"]:
            found["old", "new"] = each
    sides = ("old", "new")
    reached: dict[tuple[str, str], dict[str, Any]] = {
        key: {"name": each.name, "validation": accuracy(each, "validation"), "test": accuracy(each, "test")}
        for key, each in found.items()
    }
    moves = []
    for side in sides:
        for name, start, end in (
            (f"New data with the {side} code", ("old", side), ("new", side)),
            (f"New code with the {side} data", (side, "old"), (side, "new")),
        ):
            if start in found and end in found:
                move = compare_split(found[start], found[end], "validation", margin)
                was, now = (reached[key]["validation"] for key in (start, end))
                moves.append({"name": name, "difference": was and now and difference(was, now), **move})
    return {"runs": [[reached.get((data, code)) for data in sides] for code in sides], "moves": moves}


def difference(before: Sequence[float], after: Sequence[float]) -> list[float]:
    """Return the difference of two shares of independent images, and the ends of its 95 % interval.

    Each share has its Wilson interval. R. G. Newcombe, "Interval estimation for the difference between independent
    proportions", Statistics in Medicine 17 (1998), method 10.
    """
    was, was_low, was_high = before
    now, now_low, now_high = after
    return [
        now - was,
        now - was - hypot(now - now_low, was_high - was),
        now - was + hypot(now_high - now, was - was_low),
    ]
