"""Points of a plan, handed out by number to any number of workers on any number of machines.

A point is one trial of an Optuna study; the trial's number, which the storage gives to exactly one caller, is the
point's. So there are never more points than the plan has: a worker that was given a higher number lets go of it. While
a worker trains a point it owns it, and says so in the trial. If it dies, another takes the same trial over: with the
values that are stored in it, the same number, and the epochs that it has reported already.

Whether an owner lives is told by its process on the same machine, and by a counter that it moves on elsewhere; clocks
of different machines are not compared. Who is taken over although it lives (a machine that slept) finds another owner
in its trial at the next epoch, and leaves it.
"""

import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from src.search.plan import Plan
from src.search.storage import Answer, explained, patiently

ATTEMPTS = 5  # of a point whose workers die; it is probably what kills them
BEAT = 15.0  # seconds
GRACE = 90.0  # seconds without a beat after which a worker of another machine is taken for dead


def this_machine() -> str:
    """The machine and, on Linux, the process numbers that count on it: a container has its own."""
    namespace = str(Path("/proc/self/ns/pid").readlink()) if sys.platform == "linux" else ""
    return f"{platform.node()} {namespace}".strip()


class Points:
    """The plan's points as one process sees them. `session`: of the command that it works for."""

    def __init__(self, storage: BaseStorage, url: str, plan: Plan, session: str) -> None:
        self._storage, self._url, self._plan = storage, url, plan
        self._owner = {
            "token": uuid.uuid4().hex,
            "session": session,
            "host": this_machine(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
        }
        self._seen: dict[int, tuple[Any, float]] = {}  # the last sign of life of a trial's owner, and when it came
        with explained(url):
            self._study = storage.get_study_id_from_name(plan.name)

    def all(self) -> list[FrozenTrial]:
        return patiently(self._url, self._all)

    def _all(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study, deepcopy=False)[: self._plan.points]

    def done(self) -> bool:
        trials = self.all()
        return len(trials) == self._plan.points and all(trial.state.is_finished() for trial in trials)

    def claim(self) -> "Point | None":
        """The first point whose worker died, else a new one; None where others are at work on all that are left."""
        return patiently(self._url, self._claim)

    def _claim(self) -> "Point | None":
        trials = self._all()
        running = [trial for trial in trials if not trial.state.is_finished()]
        for trial in running:
            # Who asks has no point: it has one only where the storage gave it, but could not say so.
            if self._owned(trial) or (self._abandoned(trial) and self._taken_over(trial)):
                return Point(self, trial._trial_id, trial.number, crowded=len(running) > 1)
        if len(trials) == self._plan.points:
            return None
        template = create_trial(state=TrialState.RUNNING, user_attrs={"owner": self._owner, "attempts": []})
        new = self._storage.create_new_trial(self._study, template)
        number = self._storage.get_trial_number_from_id(new)
        if number >= self._plan.points:
            self._storage.set_trial_user_attr(new, "owner", None)  # for a later search with more points
            return None
        return Point(self, new, number, crowded=bool(running))

    def release(self, session: str) -> None:
        """Lets go of the unfinished points of a session whose workers were stopped, for others to take over."""
        with explained(self._url):
            for trial in self._all():
                owner = trial.user_attrs["owner"]
                if not trial.state.is_finished() and owner and owner["session"] == session:
                    self._let_go(trial)

    def _let_go(self, trial: FrozenTrial) -> None:
        attempts = [*trial.user_attrs["attempts"], "interrupted"]
        self._storage.set_trial_user_attr(trial._trial_id, "attempts", attempts)
        self._storage.set_trial_user_attr(trial._trial_id, "owner", None)

    def _abandoned(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs["owner"]
        if owner is None:
            return True
        if owner["host"] == self._owner["host"]:
            with suppress(psutil.NoSuchProcess):
                return bool(abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) > 1)
            return True
        sign = owner["token"], trial.user_attrs.get("beat")
        if self._seen.get(trial.number, (None, 0.0))[0] != sign:
            self._seen[trial.number] = sign, time.monotonic()
        return time.monotonic() - self._seen[trial.number][1] > GRACE

    def _taken_over(self, trial: FrozenTrial) -> bool:
        """False where another was faster, or the point has killed enough workers: then it has failed."""
        attempts = list(trial.user_attrs["attempts"])
        if trial.user_attrs["owner"] is not None:  # else its worker said how it ended
            attempts.append("worker died")
        with suppress(UpdateFinishedTrialError):
            if attempts.count("worker died") >= ATTEMPTS:
                self._storage.set_trial_user_attr(trial._trial_id, "attempts", attempts)
                reason = f"its worker died {ATTEMPTS} times: killed, perhaps for memory"
                self._storage.set_trial_user_attr(trial._trial_id, "result", {"reason": reason})
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                return False
            self._storage.set_trial_user_attr(trial._trial_id, "owner", self._owner)
            time.sleep(0.1 if trial.user_attrs["owner"] is None else 0.3)  # of two that take it, the last has it
            if self._owns(trial._trial_id):
                self._storage.set_trial_user_attr(trial._trial_id, "attempts", attempts)
                return True
        return False

    def _owns(self, trial_id: int) -> bool:
        return self._owned(self._storage.get_trial(trial_id))

    def _owned(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs["owner"]
        return owner is not None and bool(owner["token"] == self._owner["token"])


class Point:
    """A point that this process owns, as long as `mine` does not say otherwise.

    crowded: others are being tried at the same time.
    """

    def __init__(self, points: Points, trial_id: int, number: int, *, crowded: bool) -> None:
        self._points, self._id, self.number, self.crowded = points, trial_id, number, crowded
        self._reported = max(points._storage.get_trial(trial_id).intermediate_values, default=0)
        self._study: Study
        self._trial: optuna.Trial

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        return patiently(self._points._url, ask)

    def propose(self) -> tuple[Any, int]:
        """The point's values and the seed of its training; before all else."""
        plan, storage = self._points._plan, self._points._storage

        def ask() -> tuple[Any, int]:
            # Anew at every try: a sampler that was interrupted would go on with other random numbers. A study of its
            # own: it remembers trials for the sampler, and forgets them only in Optuna's own `ask`.
            sampler = plan.sampler(self.number, crowded=self.crowded)
            self._study = optuna.load_study(
                study_name=plan.name, storage=storage, sampler=sampler, pruner=plan.pruner()
            )
            self._trial = optuna.Trial(self._study, self._id)
            return plan.propose(self._trial)

        return self._patiently(ask)

    def mine(self) -> bool:
        return self._patiently(lambda: self._points._owns(self._id))

    def report(self, epoch: int, value: float) -> bool:
        """Records an epoch and returns whether the trial should stop here. What an earlier attempt recorded stays, and
        so does what was decided on it."""
        if epoch < self._reported:
            return False

        def ask() -> bool:
            if epoch > self._reported:
                self._trial.report(value, epoch)
            return self._trial.should_prune()

        return self._patiently(ask)

    def finish(self, state: TrialState, value: float | None, result: dict[str, Any]) -> None:
        """Records how the trial ended; a trial that another worker has finished meanwhile stays as it is."""

        def ask() -> None:
            with suppress(UpdateFinishedTrialError):
                self._trial.set_user_attr("result", result)
                self._study.tell(self._trial, value, state, skip_if_finished=True)

        self._patiently(ask)

    def let_go(self) -> None:
        with explained(self._points._url):
            if self._points._owns(self._id):
                self._points._let_go(self._points._storage.get_trial(self._id))

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Moves the counter on that tells other machines that this point's worker lives."""
        over = threading.Event()

        def beat() -> None:
            count = 0
            while not over.wait(BEAT):
                count += 1
                # A storage that refuses is told by the trial's own next call.
                with suppress(Exception):
                    self._points._storage.set_trial_user_attr(self._id, "beat", count)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
