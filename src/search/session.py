"""One command's search, from the first trial to the page: what `python -m src.tune` does."""

import statistics
import time
from collections.abc import Sequence

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from src.core import paths
from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import check_writable, write_json
from src.evaluation import tables
from src.params import Params, seconds
from src.search import confirm, results, space
from src.search.best import best_of
from src.search.page import write_page
from src.search.pictures import draw_all
from src.search.plan import Confirmation, Plan, confirmation, search
from src.search.runs import Runs
from src.search.stop import Stop
from src.search.storage import journal, open_storage
from src.search.trials import Trials
from src.search.workers import Workers

_WORTH = 20.0  # seconds of work for which more processes are started; each first imports torch for 3 to 5


def find(params: Params, url: str | None, workers: Workers) -> None:
    """Run, or go on with, the search of `params.tune`; then the confirmation, tables, pictures and page.

    url: of the storage, None for the journal.
    """
    plan = search(params, space.distributions(params))
    check_writable(paths.TUNING)
    tune = params.tune
    stop = Stop(None if tune.timeout is None else seconds(tune.timeout))
    with open_storage(plan.name, url) as storage, stop.listening():
        place = without_credentials(url or str(journal(plan.name)))
        print(
            f"search {plan.name}: {plan.count} trials, {tune.sampler}, {tune.pruner} pruner, kept in {place}",
            flush=True,
        )
        reasons = [f"{workers.count} workers"] if workers.count > 1 else []
        reasons += ["a storage that others may share"] if url is not None else []
        reasons += ["latency as an objective"] if "latency" in tune.objectives else []
        if reasons:
            print(
                f"with {' and '.join(reasons)}, the next search may find other trials: it is not repeatable", flush=True
            )
        session = _Session(storage, url is not None, workers, stop, Runs(plan))
        status, summary, verdict, patience = "FAILED", {}, "", None
        try:
            trials = Trials(storage, plan, shared=url is not None)
            if reasons:
                trials.mark_not_repeatable()
            found = session.run(plan, trials)
            rows: list[confirm.Confirmed] = []
            if not stop.asked and tune.confirm.best:
                stop.late = None  # the time is that of the search
                rows = session.confirm(plan, params, found)
            if not stop.asked or results.ranked(found, plan.objectives[0]):
                verdict = _write(plan, found, rows, trials.repeatable())
                summary = {"trials": float(len(found))}
            status = "KILLED" if stop.asked else "FINISHED"
        except KeyboardInterrupt:
            status, patience = "KILLED", 3.0
            raise
        finally:
            session.runs.end(status, summary, verdict, paths.TUNING if summary else None, patience)
    if stop.asked:
        print("stopped; start again to go on where it was")
        raise KeyboardInterrupt


class _Session:
    def __init__(self, storage: BaseStorage, shared: bool, workers: Workers, stop: Stop, runs: Runs) -> None:
        self._storage, self._shared, self._workers, self._stop, self.runs = storage, shared, workers, stop, runs

    def run(self, plan: Plan, trials: Trials) -> list[FrozenTrial]:
        """Train what is left of the plan's trials and return all that are finished."""
        known = trials.finished()
        self.runs.add(plan, known)
        if known:
            print(f"{len(known)} of {plan.count} are known already", flush=True)
        started, told = time.monotonic(), 0
        while not trials.done() and not self._stop():
            for task, outcome in self._workers.train(
                lambda: None if self._stop() else trials.next(), trials.stops, trials.tick
            ):
                trials.finish(task.number, outcome)
                told += 1
                found = trials.finished()
                new = next((trial for trial in found if trial.number == task.number), None)
                if new is None:  # it was taken for dead, and queued again
                    continue
                self.runs.add(plan, [new])
                left = (time.monotonic() - started) / told * (plan.count - len(found))
                print(f"{_line(plan, new, found)}  {len(found)}/{plan.count}, {span(left)} left", flush=True)
            if not trials.done() and not self._stop():  # others run what is left
                trials.tick()
                time.sleep(1)
        return trials.finished()

    def confirm(self, plan: Plan, params: Params, found: Sequence[FrozenTrial]) -> list[confirm.Confirmed]:
        """Return the best settings and the present ones, from the best mean on; nothing where it was stopped.

        Each is trained with several seeds, for `train.epochs` of the parameters.
        """
        present = space.present(params)
        ranked = results.ranked(found, plan.objectives[0])
        best = [trial for trial in ranked if trial.params != present][: params.tune.confirm.best]
        if not best:
            return []
        settings = {"present": present, **{f"trial {trial.number}": trial.params for trial in best}}
        trainings = confirmation(plan, params.train.epochs, settings)
        print(
            f"confirming the best {len(best)} and the present settings: {trainings.count} trainings of "
            f"{params.train.epochs} epochs, with other seeds",
            flush=True,
        )
        took = [(t.datetime_complete - t.datetime_start).total_seconds() / results.epochs(t) for t in best]  # type: ignore[operator]
        if statistics.median(took) * params.train.epochs * trainings.count > _WORTH:
            self._workers.widen(trainings.count)
        got = self.run(trainings, Trials(self._storage, trainings, shared=self._shared))
        return confirm.confirmed(trainings, got) if len(got) == trainings.count else []


def _line(plan: Plan, trial: FrozenTrial, found: Sequence[FrozenTrial]) -> str:
    """Return how a trial ended, and the best of those that are finished."""
    searching, objectives = not isinstance(plan, Confirmation), plan.objectives
    ended = results.result(trial)["reason"] or f"{results.state(trial)} after epoch {results.epochs(trial)}"
    text = f"{'trial' if searching else 'training'} {trial.number:3}  {results.in_words(trial, objectives):>9}  "
    text += f"{ended:<24}  {results.describe(trial.params)}"
    if searching and len(objectives) == 1 and (ranked := results.ranked(found, objectives[0])):
        text += f"  best {results.in_words(ranked[0], objectives)} (trial {ranked[0].number})"
    return text


def _write(plan: Plan, found: Sequence[FrozenTrial], rows: Sequence[confirm.Confirmed], repeatable: bool) -> str:
    """Write tables, `best.json`, pictures and page; return the verdict. Raise `UserError` if no trial is complete."""
    tables.write(paths.TRIALS, results.trials_table(found, plan))
    if not results.ranked(found, plan.objectives[0]):
        reasons = "; ".join(dict.fromkeys(results.result(trial)["reason"] for trial in found))
        raise UserError(f"no trial was finished: {reasons}")
    tables.write(paths.CONFIRMATION, confirm.table(rows))
    best = best_of(plan, found, rows, repeatable)
    write_json(paths.BEST, best)
    write_page(plan, found, rows, repeatable, draw_all(paths.TUNING, plan, found, rows))
    if "front" in best:
        numbers = ", ".join(str(entry["trial"]) for entry in best["front"])
        verdict, choose = f"Pareto front: trials {numbers}.", "TRIAL writes one of them"
    else:
        verdict, winner = best["winner"]["verdict"], best["winner"]["setting"]
        choose = f"writes {winner}" if winner != "present" else ""
    print(verdict, confirm.COVERS if rows else "")
    print(f"results in {paths.TUNING / 'index.html'}" + (f"; python -m src.tune --apply {choose}" if choose else ""))
    return str(verdict)


def span(left: float) -> str:
    """Return seconds in words."""
    minutes, rest = divmod(round(left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
