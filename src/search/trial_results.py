"""Read the results of trials as Optuna keeps them, rank them, and write them in words and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas
from optuna.trial import FrozenTrial, TrialState

from src.search.objectives import Objective
from src.search.plan import Plan
from src.search.space import Values
from src.tracking import identity

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def state(trial: FrozenTrial) -> str:
    return STATES[trial.state]


def result(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return what `Trials` recorded, or only a reason if the machines of the trial died."""
    found: Mapping[str, Any] = trial.user_attrs.get("result", {"reason": "its machines died", "history": {}})
    return found


def epochs(trial: FrozenTrial) -> int:
    return len(result(trial)["history"].get("train_loss", ()))


def count_states(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    states = [state(trial) for trial in trials]
    return {name: states.count(name) for name in STATES.values()}


def ranked(trials: Sequence[FrozenTrial], objective: Objective) -> list[FrozenTrial]:
    """Return the complete trials, the best first; of equal ones the earlier first."""
    sign = -1 if objective.maximize else 1
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))


def trials_table(trials: Sequence[FrozenTrial], plan: Plan) -> pandas.DataFrame:
    """Return a row for each trial, with the values of the space as `params.yaml` would spell them.

    The value of a pruned trial is that of its last epoch.
    """
    rows = []
    for trial in trials:
        values = [identity.text(trial.params[key]) if key in trial.params else "" for key in plan.space]
        rows.append([trial.number, state(trial), trial.value, epochs(trial), *values, result(trial)["reason"]])
    return pandas.DataFrame(rows, columns=["trial", "state", plan.objective.key, "epochs", *plan.space, "reason"])


def describe(values: Values) -> str:
    """Write values on one line: `lr 0.0123, weight_decay 1.2e-05`."""
    return ", ".join(
        f"{key.rpartition('.')[2]} {f'{value:.4g}' if isinstance(value, float) else identity.text(value)}"
        for key, value in values.items()
    )
