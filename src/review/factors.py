"""Find out if new data or new code moved the numbers of a change that has both, by runs with only one of them."""

from collections.abc import Sequence
from typing import Any

from src.review.answers import accuracy, compare_split
from src.review.commits import differs
from src.review.revision import Revision


def factors(base: Revision, head: Revision, steps: Sequence[Revision], margin: float) -> dict[str, Any] | None:
    """Compare old and new data with old and new code (or parameters); return None if only one of them changed.

    steps: the runs of the change, among which those with one of both are looked for.

    Return `runs`, a table of accuracies by code (rows) and data (columns), old before new, None where there is no run;
    and `moves`, comparisons of two runs that differ in one of both, as `compare_split` returns them.
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
                moves.append({"name": name, **compare_split(found[start], found[end], "validation", margin)})
    return {"runs": [[reached.get((data, code)) for data in sides] for code in sides], "moves": moves}
