"""Ask Optuna for trials, and record their epochs and how they end.

A journal belongs to one process. A trial that was running when the process was killed is run again under its own
number, so that with one worker the table is the same wherever the search was killed.

A database is shared by several processes. Each shows by heartbeats that it is alive, and Optuna queues the trials of a
dead one again, under new numbers.
"""

import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from src.core.errors import UserError
from src.search import sampling
from src.search.messages import Outcome, Task
from src.search.plan import Plan
from src.search.storage import BEAT
from src.search.trial_results import STATES
from src.training.epoch import Epoch

CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")
_ENDS = {name: state for state, name in STATES.items()}


@dataclass
class _Running:
    trial: optuna.Trial
    seed: int
    epochs: list[Epoch] = field(default_factory=list)


class Trials:
    """Run the trials of a plan in one process. shared: other processes may run some of them too."""

    def __init__(self, storage: BaseStorage, plan: Plan, *, shared: bool) -> None:
        self._storage, self._plan, self._shared = storage, plan, shared
        self._study = optuna.create_study(
            storage=storage,
            study_name=plan.name,
            directions=[objective.direction for objective in plan.objectives],
            load_if_exists=True,
            pruner=sampling.pruner(plan.params.tune.pruner, plan.params.train.epochs),
        )
        self._running: dict[int, _Running] = {}
        self._beaten = time.monotonic()
        self._seen: set[int] = set()  # trials that other processes run

    def all(self) -> list[FrozenTrial]:
        """Return the plan's trials, up to its count. One that was queued again replaces the first attempt."""
        trials = self._study.get_trials(deepcopy=False)
        replaced = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
        current = [trial for trial in trials if trial.number not in replaced]
        current.sort(key=lambda trial: trial.system_attrs.get("failed_trial", trial.number))
        return current[: self._plan.count]

    def finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.all() if trial.state.is_finished()]

    def done(self) -> bool:
        return len(self.finished()) == self._plan.count

    def next(self) -> Task | None:
        """Return the training of the next trial; None if none is left for this process."""
        trials = self.all()
        if len(trials) == self._plan.count and all(trial.state != TrialState.WAITING for trial in trials):
            return None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Heartbeat of storage")  # only `Study.optimize` beats by itself
            asked = self._study.ask()
        self._beat(asked)
        number = asked.number
        every = self._study.get_trials(deepcopy=False)
        place = number - sum("failed_trial" in trial.system_attrs for trial in every[:number])
        params, space = self._plan.params, self._plan.space
        self._study.sampler = sampling.sampler(params.tune.sampler, space, params.seed, place)
        trial = optuna.Trial(self._study, every[number]._trial_id)
        values = {key: trial._suggest(key, entry) for key, entry in space.items()}
        self._running[number] = _Running(trial, self._plan.training(values)[1])
        try:
            return self._plan.task(number, values)
        except UserError as fault:  # of a combination beyond those that were checked before the search
            self.finish(number, Outcome("failed", reason=str(fault)))
            return self.next()

    def stops(self, task: Task, epoch: Epoch) -> bool:
        """Record an epoch, and return whether the trial ends here."""
        running = self._running[task.number]
        running.epochs[epoch.number - 1 :] = [epoch]
        if len(self._plan.objectives) > 1:
            return False
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The reported value is ignored")  # a worker that died reported it
                running.trial.report(self._plan.objectives[0].of_epoch(epoch), epoch.number)
            # Not before the epoch at which a worker died: the pruner looks at the latest that was reported.
            pruned = running.trial.should_prune()
            return pruned and epoch.number == self._storage.get_trial(running.trial._trial_id).last_step
        except UpdateFinishedTrialError:  # it was taken for dead: another process runs it
            return True

    def finish(self, number: int, outcome: Outcome) -> None:
        """Record how a trial ended, unless another process has run it in the meantime."""
        running = self._running.pop(number)
        epochs = running.epochs
        result = {
            "seed": running.seed,
            "history": {name: [getattr(epoch, name) for epoch in epochs] for name in CURVES},
            "best_epoch": next((epoch.number for epoch in reversed(epochs) if epoch.best), None),
            "reason": outcome.reason,
            **outcome.measured,
        }
        values: Sequence[float] | None = None
        if outcome.state == "complete":
            values = [objective.of_training(epochs, outcome.measured) for objective in self._plan.objectives]
        with suppress(UpdateFinishedTrialError):
            running.trial.set_user_attr("result", result)
            self._study.tell(running.trial, values, _ENDS[outcome.state], skip_if_finished=True)

    def tick(self) -> None:
        """Send heartbeats, and queue the trials of dead processes again."""
        if self._shared and time.monotonic() - self._beaten > BEAT:
            for running in self._running.values():
                self._beat(running.trial)
            # Optuna never queues a trial again that had no heartbeat, as of a process that died in `next`. So each
            # trial of another process gets one from here.
            for trial in self.all():
                if trial.state == TrialState.RUNNING and trial.number not in self._running.keys() | self._seen:
                    self._beat(trial)
                    self._seen.add(trial.number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                fail_stale_trials(self._study)
            self._beaten = time.monotonic()

    def _beat(self, trial: optuna.Trial | FrozenTrial) -> None:
        if self._shared:
            self._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
