"""Compare the best settings with the present ones over several seeds, to tell better from lucky."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from src.search.objectives import Objective
from src.search.plan import Plan
from src.search.space import Values
from src.stats.intervals import LEVEL, mean_interval

COVERS = (
    "This covers the luck of training on these training and validation images; not that of the images themselves, by "
    "which the settings were chosen."
)


@dataclass(frozen=True)
class Confirmed:
    """Hold a setting and the results of its trainings (S,), without those that failed."""

    name: str  # "present", or "trial 7"
    values: Values
    results: NDArray[np.float64]
    mean: float  # NaN without results
    low: float  # ends of the 95 % interval of the mean (Student's t); NaN for fewer than two results
    high: float
    p: float  # by Welch's test against the present settings, with Holm's correction; NaN for these, or without spread


def confirmed(plan: Plan, trials: Sequence[FrozenTrial]) -> list[Confirmed]:
    """Return the settings, `present` among them, the best mean first."""
    from src.stats.paired import welch  # scipy.stats takes half a second to import
    from src.stats.verdicts import holm

    objective = plan.objective
    groups: dict[str, NDArray[np.float64]] = {}
    for name in plan.settings:
        own = [t.value for t in trials if t.params["setting"] == name and t.state == TrialState.COMPLETE]
        groups[name] = np.array(own, dtype=np.float64)
    tested = [name for name in groups if name != "present"]
    corrected = holm([welch(groups["present"], groups[name])[0] for name in tested])
    p_values = dict(zip(tested, corrected.tolist(), strict=True))
    rows = []
    for name, group in groups.items():
        low, high = mean_interval(group) if len(group) > 1 else (np.nan, np.nan)
        if objective.name == "accuracy":  # the t distribution does not know that no accuracy is above 1
            low, high = max(low, 0.0), min(high, 1.0)
        mean = float(group.mean()) if len(group) else np.nan
        rows.append(Confirmed(name, plan.settings[name], group, mean, low, high, p_values.get(name, np.nan)))
    sign = -1 if objective.maximize else 1
    # Rounded, since means of equal results in another order differ in the last bits.
    return sorted(rows, key=lambda row: (np.isnan(row.mean), sign * round(row.mean, 9), row.name != "present"))


def verdict(rows: Sequence[Confirmed], objective: Objective) -> str:
    """Say in one sentence if the winner, the first row, is better than the present settings."""
    winner, present = rows[0], next(row for row in rows if row.name == "present")
    seeds = len(winner.results)
    if np.isnan(winner.mean):
        return "every training with other seeds failed: nothing is confirmed."
    if winner is present:
        return f"No settings have a better mean of {seeds} seeds than the present ones: there is nothing to change."
    unit, digits = (100, 2) if objective.name == "accuracy" else (1, 4)
    kind = "percentage points of accuracy" if objective.name == "accuracy" else "of loss"
    if np.isnan(present.mean):
        return f"{winner.name.capitalize()} has the best mean; every training of the present settings failed."
    gain = f"{unit * abs(winner.mean - present.mean):.{digits}f} {kind}"
    tested = "no spread to test it by" if np.isnan(winner.p) else f"p = {winner.p:.3g}, Welch, Holm"
    if winner.p < 1 - LEVEL:
        better = f"{winner.name.capitalize()} is better than the present settings by {gain}"
        return f"{better} (mean of {seeds} seeds, {tested})."
    return (
        f"{winner.name.capitalize()} has the best mean, better by {gain}, but is not distinguishable from the present "
        f"settings ({seeds} seeds, {tested})."
    )


def table(rows: Sequence[Confirmed]) -> pandas.DataFrame:
    """Return a table with the columns `setting,runs,mean,ci_low,ci_high,p_holm`, the best mean first."""
    values = [(row.name, len(row.results), row.mean, row.low, row.high, row.p) for row in rows]
    return pandas.DataFrame(values, columns=["setting", "runs", "mean", "ci_low", "ci_high", "p_holm"])
