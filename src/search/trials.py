"""Run the trials of a study: ask Optuna for one, have it trained, and record its epochs and how it ends.

A journal belongs to one process. A trial that was running when the process was killed is run again under its own
number, so that with one worker the table is the same wherever the search was killed.

A database is shared by several processes. Each shows by heartbeats that it is alive, and Optuna queues the trials of a
dead one again, under new numbers.
"""

import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from src.core.errors import UserError
from src.search import sampling
from src.search.messages import Outcome
from src.search.plan import Plan
from src.search.storage import BEAT
from src.search.trial_results import STATES
from src.search.workers import Worker
from src.training.epoch import CURVES, Epoch

_ENDS = {name: state for state, name in STATES.items()}


class Trials:
    """Run the trials of a plan in one process."""

    def __init__(self, storage: BaseStorage, plan: Plan) -> None:
        self._storage, self._plan = storage, plan
        self._shared = not isinstance(storage, JournalStorage)  # other processes may run some of the trials too
        self._study = optuna.create_study(
            storage=storage,
            study_name=plan.name,
            direction="maximize" if plan.objective.maximize else "minimize",
            load_if_exists=True,
            pruner=sampling.pruner(plan.params.tune.pruner, plan.params.train.epochs),
        )
        self._study.sampler = sampling.Sampler(plan.params.tune.sampler, plan.space, plan.params.seed, self._study)
        self._asking = threading.Lock()
        self._own: set[int] = set()  # numbers of the trials that this process has run
        self._seen: set[int] = set()  # and of those that were running at a heartbeat
        self._beaten = time.monotonic()

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

    def run(self, worker: Worker, stop: Callable[[], bool]) -> FrozenTrial | None:
        """Run the next trial and return it, or None if all are finished or `stop` returns True.

        The threads of several workers may call this at once.
        """
        while not stop() and not self.done():
            trial = self._ask()
            if trial is None:  # others run what is left, and may die
                time.sleep(1)
                continue
            self._train(trial, worker)
            for found in self.finished():
                if found.number == trial.number:  # else another process took it for dead, and runs it again
                    return found
        return None

    def tick(self) -> None:
        """Send heartbeats, and queue the trials of dead processes again."""
        if not self._shared or time.monotonic() - self._beaten < BEAT:
            return
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            # Optuna never queues a trial again that had no heartbeat. So each trial of another process gets one from
            # here, since that process may have died before the first.
            if trial.number in self._own or trial.number not in self._seen:
                self._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
            self._seen.add(trial.number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self._study)
        self._beaten = time.monotonic()

    def _ask(self) -> optuna.Trial | None:
        """Return the next trial with its values, None if none is left for this process."""
        with self._asking, warnings.catch_warnings():
            trials = self.all()
            if len(trials) == self._plan.count and all(trial.state != TrialState.WAITING for trial in trials):
                return None
            warnings.filterwarnings("ignore", "Heartbeat of storage")  # only `Study.optimize` beats by itself
            trial = self._study.ask(dict(self._plan.space))
            self._own.add(trial.number)
            return trial

    def _train(self, trial: optuna.Trial, worker: Worker) -> None:
        """Train with the values of a trial, and record how it ended, unless another process has run it meanwhile."""
        objective, epochs = self._plan.objective, list[Epoch]()

        def stops(epoch: Epoch) -> bool:
            epochs.append(epoch)
            try:
                trial.report(objective.of_epoch(epoch), epoch.number)
                return trial.should_prune()
            except UpdateFinishedTrialError:  # it was taken for dead: another process runs it
                return True

        try:
            task = self._plan.task(trial.params)
        except UserError as fault:  # of a combination beyond those that were checked before the search
            outcome = Outcome("failed", reason=str(fault))
        else:
            outcome = worker.train(task, stops)
        result = {
            "history": {name: [getattr(epoch, name) for epoch in epochs] for name in CURVES},
            "best_epoch": next((epoch.number for epoch in reversed(epochs) if epoch.best), None),
            "reason": outcome.reason,
            **outcome.measured,
        }
        value = objective.of_training(epochs) if outcome.state == "complete" else None
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr("result", result)
            self._study.tell(trial, value, _ENDS[outcome.state], skip_if_finished=True)
