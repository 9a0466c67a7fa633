"""Write `reports/tuning/index.html`, which shows a search on one page."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial

from src.core.paths import TUNING
from src.figures.embed import embed
from src.figures.template import render_page
from src.search.confirm import COVERS, Confirmed
from src.search.plan import Plan
from src.search.trial_results import count_states, describe, epochs, ranked, result
from src.tracking.identity import flatten

_BEST = 10  # trials in the table


def write_page(
    plan: Plan, trials: Sequence[FrozenTrial], rows: Sequence[Confirmed], verdict: str, pictures: Sequence[Path]
) -> None:
    """Write the page of a search with at least one complete trial. All values are escaped."""
    objective, tune = plan.objective, plan.params.tune
    best = ranked(trials, objective)
    if rows and not np.isnan(rows[0].mean):  # the best of many trials was lucky too: what is confirmed counts more
        what = f"{objective.label}, mean of {len(rows[0].results)} other seeds"
        headline = objective.words(rows[0].mean), what, f"{rows[0].name}: {describe(rows[0].values)}"
    else:
        what = f"best {objective.label}"
        headline = objective.words(best[0].values[0]), what, f"trial {best[0].number}: {describe(best[0].params)}"

    def words(value: float) -> str:
        return "" if np.isnan(value) else objective.words(value)

    render_page(
        TUNING / "index.html",
        Path(__file__).parent,
        name=plan.name,
        count=len(trials),
        space=list(plan.space),
        headline=headline,
        objective=objective.label,
        verdict=verdict,
        covers=COVERS if rows else "",
        cards=[*count_states(trials).items(), ("epochs", f"{sum(map(epochs, trials)):,}")],
        confirmed=[
            (
                row.name,
                describe(row.values),
                len(row.results),
                words(row.mean),
                f"{words(row.low)} to {words(row.high)}".removeprefix(" to "),
                "" if np.isnan(row.p) else f"{row.p:.3g}",
            )
            for row in rows
        ],
        failed=list(Counter(result(trial)["reason"] for trial in trials if result(trial)["reason"]).items()),
        best=[(trial.number, objective.words(trial.values[0]), list(trial.params.values())) for trial in best[:_BEST]],
        pictures=[embed(file) for file in pictures],
        settings=flatten({key: getattr(tune, key) for key in ("sampler", "pruner", "objective")})
        | {"epochs of a trial": str(plan.params.train.epochs), "seed": str(plan.params.seed)}
        | {key: entry.words() for key, entry in tune.space.items()},
    )
