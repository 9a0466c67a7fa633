"""Read what the trials of a study gave, as Optuna keeps them, in words and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
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
    """Return what `Trials.finish` recorded; of a trial whose machines died there is nothing but a reason."""
    found: Mapping[str, Any] = trial.user_attrs.get("result", {"reason": "its machines died", "history": {}})
    return found


def epochs(trial: FrozenTrial) -> int:
    return len(result(trial)["history"].get("train_loss", ()))


def count_states(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    states = [state(trial) for trial in trials]
    return {name: states.count(name) for name in STATES.values()}


def ranked(trials: Sequence[FrozenTrial], objective: Objective) -> list[FrozenTrial]:
    """Return the complete trials from the best value of one objective on; of equal ones the first goes first."""
    sign = -1 if objective.maximize else 1
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))


def pareto_front(trials: Sequence[FrozenTrial], objectives: Sequence[Objective]) -> list[FrozenTrial]:
    """Return the complete trials than which no other is better in one objective and as good in the others, in the order
    of the first objective."""
    complete = ranked(trials, objectives[0])
    signs = [-1 if objective.maximize else 1 for objective in objectives]
    values = np.array([trial.values for trial in complete]) * signs
    dominated = [bool(((values <= own).all(axis=1) & (values < own).any(axis=1)).any()) for own in values]
    return [trial for trial, worse in zip(complete, dominated, strict=True) if not worse]


def trials_table(trials: Sequence[FrozenTrial], plan: Plan) -> pandas.DataFrame:
    """Return a row for each trial. Values of the space are in full, as `params.yaml` would spell them.

    The value of a pruned trial is that of its last epoch.
    """
    names = [objective.key for objective in plan.objectives]
    rows = []
    for trial in trials:
        found = trial.values or [None] * len(names)
        values = [identity.text(trial.params[key]) if key in trial.params else "" for key in plan.space]
        rows.append([trial.number, state(trial), *found, epochs(trial), *values, result(trial)["reason"]])
    return pandas.DataFrame(rows, columns=["trial", "state", *names, "epochs", *plan.space, "reason"])


def describe(values: Values) -> str:
    """Return values on one line, numbers short: `lr 0.0123, weight_decay 1.2e-05`."""
    return ", ".join(
        f"{key.rpartition('.')[2]} {f'{value:.4g}' if isinstance(value, float) else identity.text(value)}"
        for key, value in values.items()
    )


def in_words(trial: FrozenTrial, objectives: Sequence[Objective]) -> str:
    """Return the values of a trial's objectives, or that it failed."""
    if trial.values is None:
        return "failed"
    return ", ".join(one.words(value) for one, value in zip(objectives, trial.values, strict=True))
