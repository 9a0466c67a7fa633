"""What a plan's points gave, read from the storage, as tables and as `best.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from src.params import Scalar
from src.search.plan import Plan
from src.tracking import identity

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Result:
    """A finished point.

    value: the best objective of any epoch; of a pruned trial, that of its last one. best_epoch, model_md5: of the
    weights that the stage train would keep, those of the best accuracy whatever the objective.
    """

    number: int
    state: str  # complete, pruned or failed
    value: float | None
    values: Mapping[str, Scalar]
    seed: int | None
    curves: Mapping[str, Sequence[float]]  # by the names of reports/history.csv
    best_epoch: int | None
    model_md5: str | None
    reason: str
    crowded: bool  # others were being tried at the same time: what it is depends on which was faster
    attempts: Sequence[str]  # how each ended, the last one too
    began: datetime
    ended: datetime
    session: str  # of the command that finished it
    worker: str  # its machine and process

    @property
    def epochs(self) -> int:
        return len(self.curves.get("train_loss", ()))

    def curve(self, plan: Plan) -> Sequence[float]:
        return self.curves.get("validation_accuracy" if plan.maximize else "validation_loss", ())


@dataclass(frozen=True)
class Objective:
    name: str  # accuracy or loss, of the validation images
    maximize: bool

    @classmethod
    def of(cls, plan: Plan) -> "Objective":
        return cls(plan.params.tune.objective, plan.maximize)

    @property
    def label(self) -> str:
        return f"validation {self.name}"

    def words(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.name == "accuracy" else f"{value:.4f}"

    def best(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The best of each value and those before it (N,)."""
        return (np.fmax if self.maximize else np.fmin).accumulate(values)


def finished(trials: Sequence[FrozenTrial]) -> list[Result]:
    return [_result(trial) for trial in trials if trial.state.is_finished()]


def _result(trial: FrozenTrial) -> Result:
    found: Mapping[str, Any] = trial.user_attrs.get("result", {})
    owner = trial.user_attrs["owner"] or {"session": "", "host": "", "pid": 0}
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    state = STATES[trial.state]
    return Result(
        number=trial.number,
        state=state,
        value=trial.value,
        values=found.get("values", trial.params),
        seed=found.get("seed"),
        curves=found.get("history", {}),
        best_epoch=found.get("best_epoch"),
        model_md5=found.get("model_md5"),
        reason=found.get("reason", ""),
        crowded=found.get("crowded", False),
        attempts=[*trial.user_attrs["attempts"], state],
        began=trial.datetime_start,
        ended=trial.datetime_complete,
        session=owner["session"],
        worker=f"{owner['host']} {owner['pid']}",
    )


def ranked(results: Sequence[Result], *, maximize: bool) -> list[Result]:
    """Complete points from the best on; of equal ones the first."""
    complete = [result for result in results if result.state == "complete" and result.value is not None]
    return sorted(complete, key=lambda result: (-result.value if maximize else result.value, result.number))  # type: ignore[operator]


def trials_table(results: Sequence[Result], plan: Plan) -> pandas.DataFrame:
    """A row a point. Values of the space in full, as `params.yaml` would spell them."""
    space = list(plan.params.tune.space)
    columns = ["point", "state", f"validation_{plan.params.tune.objective}", "epochs", *space, "reason"]
    rows = []
    for result in results:
        values = [identity.text(result.values[key]) if key in result.values else "" for key in space]
        rows.append([result.number, result.state, result.value, result.epochs, *values, result.reason])
    return pandas.DataFrame(rows, columns=columns)


def attempts_table(results: Sequence[Result]) -> pandas.DataFrame:
    """A row an attempt: a point has several where its worker died."""
    rows = [
        {"point": result.number, "attempt": attempt, "ended": ended}
        for result in results
        for attempt, ended in enumerate(result.attempts, start=1)
    ]
    return pandas.DataFrame(rows, columns=["point", "attempt", "ended"])


def describe(values: Mapping[str, Scalar]) -> str:
    """Values on one line, numbers short: `lr 0.0123, weight_decay 1.2e-05`."""
    return ", ".join(
        f"{key.rpartition('.')[2]} {f'{value:.4g}' if isinstance(value, float) else identity.text(value)}"
        for key, value in values.items()
    )
