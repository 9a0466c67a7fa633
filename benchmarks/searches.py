"""Searches: TPE with pruning against random search without, the overhead of a trial, and workers that are killed.

    python -m benchmarks.searches search digits --points 30
    python -m benchmarks.searches compare fashion-mnist --set data.source=../shared/datasets/fashion-mnist-idx.tar.xz \\
        --set data.limit=2000 --set train.epochs=8 --set train.batch_size=64 --seeds 10 --points 20
    python -m benchmarks.searches overhead digits --points 30 --set train.epochs=10
    python -m benchmarks.searches killed digits --storage postgresql://user@host/db --points 200 --set train.epochs=2

Each adds its result to `benchmarks/searches.json`; `python -m benchmarks.report` writes `benchmarks/README.md` from it.

search: what `python -m src.tune` takes, from its start to its page, and what the confirmation says of the winner and
the recipe's own settings. compare: for every seed, random search without pruning tries the points; then TPE with the
median pruner has twice as many, and stops where a complete trial is as good as random's best. What counts is how many
epochs each needs until then, those of pruned trials too. overhead: what a trial takes besides training, with the
journal as storage. killed: four workers, of which one is killed every 5 s.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from benchmarks.common import hardware, keep, versions
from benchmarks.pipeline import ROOT, clean_environment, cloned
from src.core.paths import BEST, CONFIRMATION
from src.params import Model, Params, Train, load
from src.search import results, space
from src.search.plan import Search, search
from src.search.points import Points
from src.search.runs import Runs
from src.search.stop import Stop
from src.search.storage import create_study, open_storage
from src.search.trial import run
from src.search.workers import work_apart, work_here
from src.tracking.store import open_store
from src.training.results import Epoch
from src.training.resume import Progress
from src.training.trainer import Trainer, Training

RESULTS = ROOT / "benchmarks/searches.json"
EVERY = 5.0  # seconds between two kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["search", "compare", "overhead", "killed"])
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter to change")
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--storage", help="killed: an Optuna storage (default: the journal)")
    arguments = parser.parse_args()
    with prepared(arguments.recipe, arguments.set):
        measured = {
            "search": lambda: whole(arguments.points),
            "compare": lambda: compare(arguments.points, arguments.seeds),
            "overhead": lambda: overhead(arguments.points),
            "killed": lambda: killed(arguments.points, arguments.storage),
        }[arguments.what]()
    kind = (arguments.storage or "journal").partition(":")[0]
    result = {
        "what": arguments.what,
        "recipe": arguments.recipe,
        "changed": [change for change in arguments.set if not change.startswith("data.source=")],
        "storage": kind,
        "points": arguments.points,
        **measured,
        "hardware": hardware(),
        "versions": versions("torch", "optuna", "mlflow"),
    }
    print(result)
    keep(RESULTS, result, same=("what", "recipe", "changed", "storage"))


@contextmanager
def prepared(recipe: str, changes: list[str]) -> Iterator[None]:
    """In a copy of the repository, its data prepared by the recipe."""
    with tempfile.TemporaryDirectory() as temporary:
        clone = cloned(Path(temporary, "clone"), recipe, changes)
        subprocess.run(["dvc", "repro", "--quiet", "split"], cwd=clone, check=True)
        os.chdir(clone)
        try:
            yield
        finally:
            os.chdir(ROOT)


def asked(params: Params, points: int, **changes: Any) -> Search:
    """The search of `params` with so many points and other values of `seed` or `tune`."""
    seed = changes.pop("seed", params.seed)
    tune = params.tune.model_copy(update={"trials": points, **changes})
    changed = params.model_copy(update={"seed": seed, "tune": tune})
    return search(changed, space.distributions(changed))


def studied(plan: Search, url: str | None = None) -> Points:
    storage = open_storage(url)
    create_study(storage, plan.name, plan.question, maximize=plan.maximize)
    return Points(storage, url or "journal", plan, "benchmark")


def whole(points: int) -> dict[str, Any]:
    """One search, in a process of its own as a user's is."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "src.tune", "--trials", str(points)]
    subprocess.run(command, env=clean_environment(), check=True)
    seconds = time.perf_counter() - started
    best = json.loads(BEST.read_text(encoding="utf-8"))
    confirmed = pandas.read_csv(CONFIRMATION)
    return {
        "seconds": round(seconds, 1),
        "states": best["points"],
        "trainings": int(confirmed["runs"].sum()),
        "objective": best["objective"],
        "verdict": best["winner"]["verdict"],
        "rows": confirmed.astype(object).where(confirmed.notna(), None).to_dict("records"),
    }


def compare(points: int, seeds: int) -> dict[str, Any]:
    params = load()
    trainer = Trainer(params.model, params.train, "train", "validation")
    rows = []
    for seed in range(seeds):
        # Above one worker's own: the seeds of the trainings differ too.
        plan = asked(params, points, seed=seed, sampler="random", pruner="none")
        found, spent = until(plan, trainer, None)
        best = found[int(np.argmax([row.value or 0.0 for row in found]))]
        needed = sum(row.epochs for row in found[: best.number + 1])
        assert best.value is not None
        other, other_spent = until(asked(params, 2 * points, seed=seed), trainer, best.value)
        reached = any(row.state == "complete" and (row.value or 0.0) >= best.value for row in other)
        rows.append(
            {
                "seed": seed,
                "random_best": round(best.value, 6),
                "random_epochs": spent,
                "random_epochs_to_best": needed,
                "tpe_epochs_to_best": other_spent if reached else None,
                "tpe_epochs": other_spent,
                "tpe_points": len(other),
            }
        )
        print(rows[-1], flush=True)
    return {"seeds": seeds, "rows": rows}


def until(plan: Search, trainer: Trainer, value: float | None) -> tuple[list[results.Result], int]:
    """The points in order and their epochs; up to the first complete one that is as good as `value`."""
    points = studied(plan)
    while point := points.claim():
        run(point, plan, trainer)
        last = results.finished(points.all())[-1]
        if value is not None and last.state == "complete" and last.value is not None and last.value >= value:
            break
    found = results.finished(points.all())
    return found, sum(row.epochs for row in found)


class Timed(Trainer):
    """Knows how many seconds went into training."""

    seconds = 0.0

    def start(self, model: Model, settings: Train, seed: int, progress: Progress | None = None) -> Training:
        started = time.perf_counter()
        training = super().start(model, settings, seed, progress)
        self.seconds += time.perf_counter() - started
        return training._replace(epochs=self._timed(training.epochs))

    def _timed(self, epochs: Iterator[Epoch]) -> Iterator[Epoch]:
        while True:
            started = time.perf_counter()
            epoch = next(epochs, None)
            self.seconds += time.perf_counter() - started
            if epoch is None:
                return
            yield epoch


def overhead(points: int) -> dict[str, Any]:
    """Milliseconds by trial, without MLflow and with it. The first three trials warm up and do not count."""
    params = load()
    trainer = Timed(params.model, params.train, "train", "validation")
    found = {}
    for name, seed in {"without_mlflow": 1, "with_mlflow": 2}.items():
        plan = asked(params, points + 3, seed=seed, pruner="none")
        own = studied(plan)
        runs = Runs(plan, open_store(), "benchmark") if name == "with_mlflow" else None
        moments: list[tuple[float, float]] = []

        def look(plan: Search = plan, own: Points = own, runs: Runs | None = runs, moments: Any = moments) -> None:
            if runs:
                runs.add(plan, results.finished(own.all()))
            moments.append((time.perf_counter(), trainer.seconds))

        work_here(plan, own._storage, "journal", "benchmark", trainer, Stop(None), look)
        spent = [1000 * (later[0] - earlier[0] - (later[1] - earlier[1])) for earlier, later in pairwise(moments[2:])]
        found[f"{name}_ms"] = [round(float(value), 1) for value in np.percentile(spent, [50, 25, 75])]
    return found


def killed(points: int, url: str | None) -> dict[str, Any]:
    plan = asked(load(), points)
    own = studied(plan, url)
    over = threading.Event()
    kills = []

    def kill() -> None:
        while not over.wait(EVERY):
            if children := active_children():
                child = random.choice(children)
                assert child.pid is not None
                os.kill(child.pid, signal.SIGKILL)
                kills.append(child.pid)

    thread = threading.Thread(target=kill, daemon=True)
    started = time.perf_counter()
    thread.start()
    work_apart(plan, own._storage, url, "benchmark", 4, Stop(None), lambda: None)
    seconds = time.perf_counter() - started
    over.set()
    thread.join()
    found = results.finished(own.all())
    return {
        "workers": 4,
        "kills": len(kills),
        "seconds": round(seconds, 1),
        "finished_once": len({row.number for row in found}),
        "failed": sum(row.state == "failed" for row in found),
        "taken_over": sum(len(row.attempts) > 1 for row in found),
        "trained_beyond_the_last": sum(
            bool(trial.intermediate_values) for trial in own._storage.get_all_trials(own._study)[points:]
        ),
    }


if __name__ == "__main__":
    main()
