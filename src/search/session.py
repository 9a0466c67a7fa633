"""One command's search, from the first point to the page: what `python -m src.tune` does."""

import statistics
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from src.core import paths
from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.core.files import check_writable, write_json
from src.evaluation import tables
from src.params import Params, seconds
from src.search import confirm, results, space, storage
from src.search.best import best_of
from src.search.plan import Confirmation, Plan, Search, confirmation, search
from src.search.points import Points
from src.search.progress import Progress
from src.search.results import Result, ranked
from src.search.runs import Runs
from src.search.stop import Stop
from src.tracking.store import Store


def find(params: Params, url: str | None, workers: int, store: Store | None) -> None:
    """Runs, or goes on with, the search of `params.tune`; then the confirmation, tables, pictures and page.

    url: of the storage, None for the journal; store: MLflow's, None where it is away.
    """
    plan = search(params, space.distributions(params))
    check_writable(paths.TUNING)
    session = _Session(plan, storage.open_storage(url), url, store)
    tune = params.tune
    print(
        f"search {plan.name}: {plan.points} points, {tune.sampler}, {tune.pruner} pruner, kept in {session.place}",
        flush=True,
    )
    if workers > 1:
        print(f"{workers} workers: which points they try depends on who is faster, and is not reproducible", flush=True)
    status = "FAILED"
    try:
        with (stop := Stop(None if tune.timeout is None else seconds(tune.timeout))).listening():
            found = session.take(plan, stop, workers)
            rows: list[confirm.Confirmed] = []
            if not stop.asked and tune.confirm.best:
                stop.late = None  # the time is that of the search
                rows = session.compared(found, stop, workers)
        if not stop.asked or ranked(found, maximize=plan.maximize):
            session.write(found, rows)
        status = "KILLED" if stop.asked else "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        session.end(status)
    if stop.asked:
        print("stopped; start again to go on where it was")
        raise KeyboardInterrupt


class _Session:
    def __init__(self, plan: Search, store: BaseStorage, url: str | None, mlflow: Store | None) -> None:
        self._plan, self._store, self._url = plan, store, url
        self._token = uuid.uuid4().hex
        self._runs = Runs(plan, mlflow, self._token) if mlflow else None
        self._trainer: Any = None
        self._found: Sequence[Result] = []
        self._verdict = ""
        self.place = without_credentials(url or str(storage.journal()))

    def take(self, plan: Plan, stop: Stop, workers: int, seconds: float = 0.0) -> list[Result]:
        """Trains what is left of the plan's points and returns all that are finished.

        seconds: that one takes, where they do not depend on each other; then there may be more workers.
        """
        asked = plan.name, plan.question
        storage.patiently(self.place, lambda: storage.create_study(self._store, *asked, maximize=plan.maximize))
        points = Points(self._store, self.place, plan, self._token)
        found = results.finished(points.all())
        if self._runs is not None:
            self._runs.make_up(plan, found)
        progress = Progress(plan, found)

        def look() -> None:
            new = progress(results.finished(points.all()))
            if self._runs is not None:
                self._runs.add(plan, new)

        if not points.done() and not stop():
            from src.search.workers import room, work_apart, work_here
            from src.training.trainer import (
                Trainer,  # torch: seconds that a search without anything to train need not wait
            )

            left = plan.points - len(found)
            workers = max(workers, room(plan.params, left, left * seconds))
            if workers > 1:
                work_apart(plan, self._store, self._url, self._token, workers, stop, look)
            else:
                self._trainer = self._trainer or Trainer(plan.params.model, plan.params.train, "train", "validation")
                work_here(plan, self._store, self.place, self._token, self._trainer, stop, look)
            look()
            found = results.finished(points.all())
        return found

    def compared(self, found: Sequence[Result], stop: Stop, workers: int) -> list[confirm.Confirmed]:
        """The best settings and the present ones, from the best mean on; nothing where it was stopped."""
        present = space.present(self._plan.params)
        best = [r for r in ranked(found, maximize=self._plan.maximize) if dict(r.values) != present]
        chosen = best[: self._plan.params.tune.confirm.best]
        if not chosen:
            return []
        settings = [present, *(dict(result.values) for result in chosen)]
        names = [("present", None), *((f"point {result.number}", result.number) for result in chosen)]
        plan: Confirmation = confirmation(self._plan, settings)
        seeds = ", ".join(map(str, plan.seeds))
        print(
            f"confirming the best {len(chosen)} and the present settings: {plan.points} trainings of "
            f"{plan.params.train.epochs} epochs, with the seeds {seeds}",
            flush=True,
        )
        epoch = statistics.median((one.ended - one.began).total_seconds() / one.epochs for one in chosen)
        got = self.take(plan, stop, workers, epoch * plan.params.train.epochs)
        return confirm.confirmed(plan, names, got) if len(got) == plan.points else []

    def write(self, found: Sequence[Result], rows: Sequence[confirm.Confirmed]) -> None:
        """Tables, `best.json`, pictures and page. Raises `UserError` where no trial was finished."""
        plan = self._plan
        if found:
            tables.write(paths.TRIALS, results.trials_table(found, plan))
            tables.write(paths.ATTEMPTS, results.attempts_table(found))
        if not ranked(found, maximize=plan.maximize):
            reasons = "; ".join(dict.fromkeys(result.reason for result in found if result.reason))
            raise UserError(f"no trial was finished{': ' + reasons if reasons else ''}")
        tables.write(paths.CONFIRMATION, confirm.table(rows))
        best = best_of(plan, found, rows)
        write_json(paths.BEST, best)
        from src.search.gallery import draw_all
        from src.search.page import page

        page(paths.TUNING / "index.html", plan, found, rows, draw_all(paths.TUNING, plan, found, rows))
        self._found = found
        self._verdict = confirm.verdict(rows, plan.params.tune.objective) if rows else ""
        if rows:
            print(self._verdict, confirm.COVERS)
        winner = best["winner"]
        apply = f"; python -m src.tune --apply writes {winner['setting']} into {paths.PARAMS}"
        print(f"results in {paths.TUNING / 'index.html'}{'' if winner['setting'] == 'present' else apply}")

    def end(self, status: str) -> None:
        """Closes the MLflow run, with what was written. When points ran is told there alone: git keeps no times."""
        if self._runs is None:
            return
        if not self._found:
            self._runs.end(status)
            return
        from src.search import figures

        best = ranked(self._found, maximize=self._plan.maximize)[0]
        metrics = {"best": best.value or 0.0, "points": float(len(self._found))}
        with tempfile.TemporaryDirectory() as folder:
            timeline = Path(folder, "timeline.png")
            figures.timeline(timeline, self._found)
            self._runs.end(status, metrics, self._verdict, paths.TUNING, timeline)
