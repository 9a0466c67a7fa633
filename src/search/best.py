"""`best.json`: what a search found."""

import math
from collections.abc import Sequence
from typing import Any

from src.search.confirm import Confirmed, verdict
from src.search.plan import Search
from src.search.results import STATES, Result, ranked


def best_of(plan: Search, found: Sequence[Result], rows: Sequence[Confirmed]) -> dict[str, Any]:
    """`winner` is what `--apply` writes: of the confirmed settings the one with the best mean, else the best point.

    `repeatable`: the points were tried one after the other, so that the same search finds them again. `model_md5` is
    that of the file that the stage train writes with these values, the search's seed and epochs: it keeps the weights
    of the best accuracy, in `best_epoch`, also where `value` is the lowest loss of any epoch.
    """
    best = ranked(found, maximize=plan.maximize)[0]
    winner = rows[0] if rows and not math.isnan(rows[0].mean) else None
    point = best.number if winner is None else winner.point
    states = [result.state for result in found]
    return {
        "study": plan.name,
        "objective": f"validation_{plan.params.tune.objective}",
        "epochs": plan.params.train.epochs,
        "repeatable": not any(result.crowded for result in found),
        "points": {state: states.count(state) for state in STATES.values()},
        "best": {
            "point": best.number,
            "value": best.value,
            "best_epoch": best.best_epoch,
            "model_md5": best.model_md5,
            "values": dict(best.values),
        },
        "winner": {
            "setting": winner.name if winner else f"point {best.number}",
            "model_md5": next((result.model_md5 for result in found if result.number == point), None),
            "confirmed": winner is not None,
            "verdict": verdict(rows, plan.params.tune.objective) if rows else "not confirmed with other seeds",
            "values": dict(winner.values if winner else best.values),
        },
    }
