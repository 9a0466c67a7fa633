"""One command's search, from the first point to the page: what `python -m src.tune` does."""

import math
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import run as call
from typing import Any

from optuna.storages import BaseStorage

from src import paths
from src.atomic import check_writable, write_json, write_text
from src.data.prepared import read_dataset
from src.evaluation import tables
from src.faults import Fault
from src.params import Params
from src.params.tune import seconds
from src.search import confirm, results, rewrite, space, storage
from src.search.look import Objective
from src.search.plan import Confirmation, Plan, Search, confirmation, search
from src.search.points import Points
from src.search.results import Result, describe, ranked
from src.search.runs import Runs
from src.tracking.store import without_credentials


def prepare_data() -> None:
    """Makes the prepared data those of the present parameters. As a stage, DVC has done so, and holds its lock."""
    if "DVC_STAGE" not in os.environ and call(["dvc", "repro", "--quiet", "split"], check=False).returncode:
        raise Fault("dvc repro split failed: mend what it says above")
    if not read_dataset().splits["validation"].count:
        raise Fault("a search chooses by validation images, and there are none: set split.validation above 0")


def find(params: Params, url: str | None, workers: int) -> None:
    """Runs, or goes on with, the search of `params.tune`; then the confirmation, tables, pictures and page."""
    from src.search.workers import Stop  # torch: seconds that a fault above need not wait for

    plan = search(params, space.distributions(params))
    check_writable(paths.TUNING)
    store = storage.open_storage(url)
    session = _Session(plan, store, url, workers, Runs(plan))
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
            found = session.take(plan, stop)
            rows: list[confirm.Confirmed] = []
            if not stop.asked and tune.confirm.best:
                stop.late = None  # the time is that of the search
                rows = session.compared(found, stop)
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
    def __init__(self, plan: Search, store: BaseStorage, url: str | None, workers: int, runs: Runs) -> None:
        self._plan, self._store, self._url, self._workers, self._runs = plan, store, url, workers, runs
        self._token = uuid.uuid4().hex
        self._trainer: Any = None
        self._metrics: dict[str, float] = {}
        self.place = without_credentials(url or str(storage.journal()))

    def take(self, plan: Plan, stop: Any) -> list[Result]:
        """Trains what is left of the plan's points and returns all that are finished."""
        from src.search.trial import Trainer
        from src.search.workers import work_apart, work_here

        with storage.explained(self.place):
            storage.create_study(self._store, plan.name, plan.question, maximize=plan.maximize)
        points = Points(self._store, self.place, plan, self._token)
        look = _Progress(plan, points, lambda new: self._runs.add(plan, new))
        if not points.done():
            if self._workers > 1:
                work_apart(plan, self._store, self._url, self._token, self._workers, stop, look)
            else:
                self._trainer = self._trainer or Trainer(plan.params)
                work_here(plan, self._store, self.place, self._token, self._trainer, stop, look)
        look()
        found = results.finished(points.all())
        self._runs.add(plan, found)
        return found

    def compared(self, found: Sequence[Result], stop: Any) -> list[confirm.Confirmed]:
        """The best settings and the present ones, from the best mean on; nothing where it was stopped."""
        present = space.present(self._plan.params)
        best = [r for r in ranked(found, maximize=self._plan.maximize) if dict(r.values) != present]
        chosen = best[: self._plan.params.tune.confirm.best]
        if not chosen:
            return []
        settings = [present, *(dict(result.values) for result in chosen)]
        names = [("present", None), *((f"point {result.number}", result.number) for result in chosen)]
        plan: Confirmation = confirmation(self._plan, settings)
        print(
            f"confirming the best {len(chosen)} and the present settings with {len(plan.seeds)} other seeds each",
            flush=True,
        )
        got = self.take(plan, stop)
        return confirm.confirmed(plan, names, got) if len(got) == plan.points else []

    def write(self, found: Sequence[Result], rows: Sequence[confirm.Confirmed]) -> None:
        """Tables, `best.json`, pictures and page. Raises `Fault` where no trial was finished."""
        plan = self._plan
        objective = Objective(plan.params.tune.objective, plan.maximize)
        best = ranked(found, maximize=plan.maximize)
        if found:
            tables.write(paths.TRIALS, results.trials_table(found, plan))
            tables.write(paths.ATTEMPTS, results.attempts_table(found))
        if not best:
            reasons = "; ".join(dict.fromkeys(result.reason for result in found if result.reason))
            raise Fault(f"no trial was finished{': ' + reasons if reasons else ''}")
        tables.write(paths.CONFIRMATION, confirm.table(rows))
        write_json(paths.BEST, _best(plan, found, best[0], rows, objective))
        from src.search.gallery import draw_all
        from src.search.page import page

        pictures = draw_all(paths.TUNING, self._store, plan, found, rows)
        page(paths.TUNING / "index.html", plan, found, rows, pictures)
        self._metrics = {"best": best[0].value or 0.0, "points": float(len(found))}
        if rows:
            print(confirm.verdict(rows, objective.name), confirm.COVERS)
        print(f"results in {paths.TUNING}; python -m src.tune --apply writes the best values into {paths.PARAMS}")

    def end(self, status: str) -> None:
        """Closes the MLflow run, with what was written. When points ran is told there alone: git keeps no times."""
        from src.search import figures

        folders = [paths.TUNING] if paths.BEST.exists() and self._metrics else []
        points = Points(self._store, self.place, self._plan, self._token)
        with tempfile.TemporaryDirectory() as folder:
            extra = []
            if folders and (found := results.finished(points.all())):
                extra = [Path(folder, "timeline.png")]
                figures.timeline(extra[0], found)
            self._runs.end(status, self._metrics, folders, extra)


class _Progress:
    """Prints every point once, when it is finished: what it gave, the best so far, the time that is left."""

    def __init__(self, plan: Plan, points: Points, add: Callable[[list[Result]], None]) -> None:
        self._plan, self._points, self._add = plan, points, add
        self._objective = Objective(plan.params.tune.objective, plan.maximize)
        self._shown = {result.number for result in results.finished(points.all())}
        self._before, self._start = len(self._shown), time.monotonic()
        if self._shown:
            print(f"{self._before} of {plan.points} points are known already", flush=True)

    def __call__(self) -> None:
        found = results.finished(self._points.all())
        new = [result for result in found if result.number not in self._shown]
        for result in sorted(new, key=lambda result: result.ended):
            self._shown.add(result.number)
            print(self._line(result, ranked(found, maximize=self._plan.maximize)), flush=True)
        self._add(new)

    def _line(self, result: Result, best: Sequence[Result]) -> str:
        value = "failed" if result.value is None else self._objective.words(result.value)
        ended = f"{result.state} after epoch {result.epochs}" if result.state != "failed" else result.reason
        setting = describe(result.values) + ("" if isinstance(self._plan, Search) else f", seed {result.seed}")
        kind = "point" if isinstance(self._plan, Search) else "training"
        text = f"{kind} {result.number:3}  {value:>9}  {ended:<24}  {setting}"
        if best and best[0].value is not None and isinstance(self._plan, Search):
            text += f"  best {self._objective.words(best[0].value)} (point {best[0].number})"
        done = len(self._shown)
        left = (time.monotonic() - self._start) / (done - self._before) * (self._plan.points - done)
        return f"{text}  {done}/{self._plan.points}, {_span(left)} left"


def _span(left: float) -> str:
    minutes, rest = divmod(round(left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _best(
    plan: Search, found: Sequence[Result], best: Result, rows: Sequence[confirm.Confirmed], objective: Objective
) -> dict[str, Any]:
    """`winner` is what `--apply` writes: of the confirmed settings the one with the best mean, else the best point.

    `model_md5` is that of the file that the stage train writes with these values, the search's seed and epochs.
    """
    winner = rows[0] if rows and not math.isnan(rows[0].mean) else None
    point = best.number if winner is None else winner.point
    states = [result.state for result in found]
    return {
        "study": plan.name,
        "objective": f"validation_{objective.name}",
        "epochs": plan.params.train.epochs,
        "points": {state: states.count(state) for state in results.STATES.values()},
        "best": {
            "point": best.number,
            "value": best.value,
            "best_epoch": best.best_epoch,
            "model_md5": best.model_md5,
            "values": dict(best.values),
        },
        "winner": {
            "setting": winner.name if winner else f"point {best.number}",
            "model_md5": next((result.model_md5 for result in found if result.number == point), None),
            "confirmed": winner is not None,
            "verdict": confirm.verdict(rows, objective.name) if rows else "not confirmed with other seeds",
            "values": dict(winner.values if winner else best.values),
        },
    }


def write_best(params: Params) -> None:
    """Writes the values of `best.json` into `params.yaml`. Raises `Fault` where it belongs to another search."""
    import json

    if not paths.BEST.is_file():
        raise Fault(f"{paths.BEST} is missing: run python -m src.tune first")
    try:
        found = json.loads(paths.BEST.read_text(encoding="utf-8"))
        study, winner = found["study"], found["winner"]
    except (ValueError, KeyError, TypeError):
        raise Fault(f"{paths.BEST} is damaged: run python -m src.tune, which writes it again") from None
    plan = search(params, space.distributions(params))
    if study != plan.name:
        raise Fault(f"{paths.BEST} is of the search {study}, not of the present {plan.name}: search again")
    print(winner["verdict"])
    old, new = space.present(params), winner["values"]
    if old == new:
        print(f"{paths.PARAMS} has these values already")
        return
    text = rewrite.rewritten(paths.PARAMS.read_text(encoding="utf-8"), new)
    write_text(paths.PARAMS, text)
    for key, value in new.items():
        print(f"{key}: {rewrite.spelled(old[key])} → {rewrite.spelled(value)}")
    print(f"written to {paths.PARAMS}: git diff shows it, dvc repro trains with it")
