"""Run a search from the first trial to the page, as `python -m src.tune` does."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from src.core import paths
from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import check_writable, write_json
from src.evaluation import tables
from src.params import Params, seconds
from src.search import confirm, space, trial_results
from src.search.best import best_of
from src.search.page import write_page
from src.search.pictures import draw_all
from src.search.plan import Plan, confirmation, search
from src.search.runs import Runs
from src.search.storage import journal, open_storage
from src.search.trials import Trials
from src.search.workers import WorkerPool


def find(params: Params, url: str | None, workers: WorkerPool) -> None:
    """Begin or continue the search of `params.tune`, confirm its best settings, and write tables, pictures and page.

    url: of the storage; None for the journal.
    """
    plan, tune = search(params, space.distributions(params)), params.tune
    check_writable(paths.TUNING)
    stop = Stop(None if tune.timeout is None else seconds(tune.timeout))
    with open_storage(plan.name, url) as storage, stop.listening():
        place = without_credentials(url or str(journal(plan.name)))
        asked = f"{plan.count} trials, {tune.sampler}, {tune.pruner} pruner"
        print(f"search {plan.name}: {asked}, kept in {place}", flush=True)
        reasons = [f"{workers.count} workers"] if workers.count > 1 else []
        reasons += ["a storage that others may share"] if url is not None else []
        if reasons:
            print(f"with {' and '.join(reasons)}, the next search may find other trials: it is not repeatable")
        with Runs(plan) as runs:
            session = Session(storage, workers, stop, runs)
            found = session.train(plan)
            if len(found) < plan.count and not stop.asked:
                print(f"the time is up: {len(found)} of {plan.count} trials; start again to go on", flush=True)
            rows = [] if stop.asked else session.confirm_best(plan, found, params)
            if trial_results.ranked(found, plan.objective) or not stop.asked:
                runs.describe(_write(plan, found, rows), paths.TUNING)
            if stop.asked:
                print("stopped; start again to go on where it was")
                raise KeyboardInterrupt


class Stop:
    """Tell if it is time to stop: after Ctrl-C, or when the time is up. A second Ctrl-C interrupts at once."""

    def __init__(self, seconds: float | None) -> None:
        self.asked = False
        self.late = None if seconds is None else time.monotonic() + seconds

    def __call__(self) -> bool:
        return self.asked or (self.late is not None and time.monotonic() > self.late)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let the first Ctrl-C inside the block only set `asked`."""
        before = signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self.asked = True  # where the block failed, threads that wait for the trials of others end

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # Not print, which this signal may have interrupted.
        os.write(2, b"\nstopping after the running trials; Ctrl-C again: at once\n")


@dataclass(frozen=True)
class Session:
    """Train what is planned, and show it in the terminal and in MLflow."""

    storage: BaseStorage
    workers: WorkerPool
    stop: Stop
    runs: Runs

    def train(self, plan: Plan) -> list[FrozenTrial]:
        """Train what is left of the plan's trials and return all that are finished."""
        trials = Trials(self.storage, plan)
        ended = trials.finished()
        if ended:
            print(f"{len(ended)} of {plan.count} are known already", flush=True)
        started, known = time.monotonic(), len(ended)
        for trial in self.workers.each(lambda worker: trials.run(worker, self.stop), trials.tick):
            ended.append(trial)
            found = trials.finished()
            pace = (time.monotonic() - started) / (len(ended) - known)
            minutes, rest = divmod(round(pace * (plan.count - len(found))), 60)
            print(f"{_line(plan, trial, found)}  {len(found)}/{plan.count}, {minutes} min {rest} s left", flush=True)
            self.runs.add(plan, ended)
        self.runs.add(plan, ended)  # also those that an earlier command could not add
        return trials.finished()

    def confirm_best(self, plan: Plan, found: Sequence[FrozenTrial], params: Params) -> list[confirm.Confirmed]:
        """Train the best settings and the present ones with other seeds; compare them if that comes to its end."""
        present, ranked = space.present(params), trial_results.ranked(found, plan.objective)
        best = [trial for trial in ranked if trial.params != present][: params.tune.confirm.best]
        if not best:
            return []
        self.stop.late = None  # only the search has a time limit
        settings = {"present": present, **{f"trial {trial.number}": trial.params for trial in best}}
        trainings = confirmation(plan, params.train.epochs, settings)
        print(
            f"confirming the best {len(best)} and the present settings: {trainings.count} trainings of "
            f"{params.train.epochs} epochs, with other seeds (tune.confirm.best: 0 leaves them out)",
            flush=True,
        )
        self.workers.widen(trainings.count)
        trained = self.train(trainings)
        return confirm.confirmed(trainings, trained) if len(trained) == trainings.count else []


def _line(plan: Plan, trial: FrozenTrial, found: Sequence[FrozenTrial]) -> str:
    """Write how a trial ended, and the best of the finished ones."""
    searching, objective = not plan.settings, plan.objective
    reason = trial_results.result(trial)["reason"]
    ended = reason or f"{trial_results.state(trial)} after epoch {trial_results.epochs(trial)}"
    value = "failed" if trial.value is None else objective.words(trial.value)
    kind = "trial" if searching else "training"
    text = f"{kind} {trial.number:3}  {value:>9}  {ended:<24}  {trial_results.describe(trial.params)}"
    if searching and (ranked := trial_results.ranked(found, objective)):
        text += f"  best {objective.words(ranked[0].values[0])} (trial {ranked[0].number})"
    return text


def _write(plan: Plan, found: Sequence[FrozenTrial], rows: Sequence[confirm.Confirmed]) -> str:
    """Write tables, `best.json`, pictures and page; return the verdict. Raises `UserError` if no trial is complete."""
    if not trial_results.ranked(found, plan.objective):
        reasons = "; ".join(dict.fromkeys(trial_results.result(trial)["reason"] for trial in found))
        raise UserError(f"no trial was finished: {reasons or 'the time was too short'}")
    tables.write(paths.TRIALS, trial_results.trials_table(found, plan))
    tables.write(paths.CONFIRMATION, confirm.table(rows))
    best = best_of(plan, found, rows)
    write_json(paths.BEST, best)
    write_page(plan, found, rows, best["verdict"], draw_all(paths.TUNING, plan, found, rows))
    print(best["verdict"], confirm.COVERS if rows else "")
    setting = best["winner"]["setting"]
    apply = "" if setting == "present" else f"; python -m src.tune --apply writes {setting}"
    print(f"results in {paths.TUNING / 'index.html'}{apply}")
    return str(best["verdict"])
