"""`reports/tuning/index.html`: the search on one page, in the looks of the run's own."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from src.core.files import write_text
from src.figures import embed
from src.figures.template import templates
from src.search.confirm import COVERS, Confirmed, verdict
from src.search.plan import Search
from src.search.results import Objective, Result, describe, ranked
from src.tracking.identity import flatten

_BEST = 10  # points in the table


def page(
    path: Path, plan: Search, results: Sequence[Result], rows: Sequence[Confirmed], pictures: Sequence[Path]
) -> None:
    """Writes the page of a search with at least one complete point; every value is escaped."""
    objective = Objective.of(plan)
    best = ranked(results, maximize=plan.maximize)
    states = [result.state for result in results]
    text = templates(Path(__file__).parent).get_template("page.html.jinja").render(
        name=plan.name,
        points=len(results),
        space=list(plan.space),
        headline=_headline(objective, best[0], rows),
        label=objective.label,
        verdict=verdict(rows, objective.name) if rows else "The best point was chosen from all by one training each: "
        "its value is too good on average. It was not confirmed with other seeds.",
        covers=COVERS if rows else "",
        cards=[(state, str(states.count(state))) for state in ("complete", "pruned", "failed")]
        + [("epochs", f"{sum(result.epochs for result in results):,}")],
        confirmed=[
            (
                row.name,
                describe(row.values),
                len(row.results),
                _words(objective, row.mean),
                f"{_words(objective, row.low)} to {_words(objective, row.high)}" if not np.isnan(row.low) else "",
                "" if np.isnan(row.p_holm) else f"{row.p_holm:.3g}",
            )
            for row in rows
        ],
        failed=list(Counter(result.reason for result in results if result.reason).items()),
        best=[(row.number, _words(objective, row.value), list(row.values.values())) for row in best[:_BEST]],
        pictures=[embed.embed(file) for file in pictures],
        settings=flatten({key: getattr(plan.params.tune, key) for key in ("sampler", "pruner", "objective")})
        | {"epochs of a trial": str(plan.params.train.epochs), "seed": str(plan.params.seed)}
        | {"repeatable": "no: several workers" if any(result.crowded for result in results) else "yes: one worker"}
        | {key: entry.words() for key, entry in plan.params.tune.space.items()},
    )  # fmt: skip
    write_text(path, text.replace(" %", "\N{NO-BREAK SPACE}%"))


def _headline(objective: Objective, best: Result, rows: Sequence[Confirmed]) -> tuple[str, str, str]:
    """Number, what it is, of which values. What is confirmed goes before the best of many, which was lucky too."""
    if not rows or np.isnan(rows[0].mean):
        return _words(objective, best.value), f"best {objective.label}", f"point {best.number}: {describe(best.values)}"
    winner = rows[0]
    what = f"{objective.label}, mean of {len(winner.results)} other seeds"
    return _words(objective, winner.mean), what, f"{winner.name}: {describe(winner.values)}"


def _words(objective: Objective, value: float | None) -> str:
    return "" if value is None or np.isnan(value) else objective.words(value)
