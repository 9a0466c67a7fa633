"""Searches: TPE with pruning against random search without, the overhead of a trial, and workers that are killed.

    python -m benchmarks.searches search digits --trials 30
    python -m benchmarks.searches compare fashion-mnist --set data.source=../shared/datasets/fashion-mnist-idx.tar.xz \\
        --set data.limit=2000 --set train.epochs=8 --set train.batch_size=64 --seeds 10 --trials 20
    python -m benchmarks.searches overhead digits --trials 30 --set train.epochs=10
    python -m benchmarks.searches killed digits --trials 60 --set train.epochs=2
    python -m benchmarks.searches shared digits --trials 200 --set train.epochs=1 --storage postgresql://…

Each adds its result to `benchmarks/searches.json`; `python -m benchmarks.report` writes `benchmarks/README.md` from it.

search: what `python -m src.tune` takes, from its start to its page, and what the confirmation says of the winner and
the recipe's own settings. compare: for every seed, random search without pruning runs the trials; then TPE with the
median pruner has twice as many, and stops where a complete trial is as good as random's best. What counts is how many
epochs each needs until then, those of pruned trials too. overhead: the time between the ends of two trials that was
not spent in epochs, without MLflow and with it. killed: four workers, of which one is killed every 5 s. shared: two
`python -m src.tune` at once, each in a copy of its own, with one study in an empty database.
"""

import argparse
import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from optuna.trial import FrozenTrial, TrialState

from benchmarks.common import hardware, keep, versions
from benchmarks.pipeline import ROOT, clean_environment, cloned
from src.core.paths import BEST, CONFIRMATION
from src.params import Params, load
from src.search import results, space
from src.search.messages import Task
from src.search.objectives import measure
from src.search.plan import Plan, search
from src.search.runs import Runs
from src.search.storage import open_storage
from src.search.trials import Trials
from src.search.workers import Workers
from src.training.results import Epoch

RESULTS = ROOT / "benchmarks/searches.json"
EVERY = 5.0  # seconds between two kills
WORKERS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["search", "compare", "overhead", "killed", "shared"])
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter to change")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--storage", help="of shared")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.chdir(cloned(Path(temporary, "clone"), arguments.recipe, arguments.set))
        subprocess.run(["dvc", "repro", "--quiet", "split"], check=True)
        measured = {
            "search": lambda: complete(arguments.trials),
            "compare": lambda: compare(arguments.trials, arguments.seeds),
            "overhead": lambda: overhead(arguments.trials),
            "killed": lambda: killed(arguments.trials),
            "shared": lambda: shared(arguments.trials, arguments.storage, Path(temporary, "other")),
        }[arguments.what]()
        os.chdir(ROOT)
    result = {
        "what": arguments.what,
        "recipe": arguments.recipe,
        "changed": [change for change in arguments.set if not change.startswith("data.source=")],
        "trials": arguments.trials,
        **measured,
        "hardware": hardware(),
        "versions": versions("torch", "optuna", "mlflow"),
    }
    print(result)
    keep(RESULTS, result, same=("what", "recipe", "changed"))


def asked(params: Params, trials: int, **changes: Any) -> Plan:
    """The search of `params` with so many trials and other values of `seed` or `tune`."""
    seed = changes.pop("seed", params.seed)
    tune = params.tune.model_copy(update={"trials": trials, **changes})
    changed = params.model_copy(update={"seed": seed, "tune": tune})
    return search(changed, space.distributions(changed))


@contextmanager
def started(params: Params, count: int = 1) -> Iterator[Workers]:
    with Workers(params, ("train", "validation"), functools.partial(measure, params.tune.objectives), count) as workers:
        yield workers


def ended(workers: Workers, plan: Plan, spent: list[float] | None = None) -> Iterator[list[FrozenTrial]]:
    """The finished trials, each time that one has ended. spent: gains the seconds of epochs."""
    with open_storage(plan.name, None) as storage:
        trials = Trials(storage, plan, shared=False)

        def stops(task: Task, epoch: Epoch) -> bool:
            if spent is not None:
                spent.append(epoch.seconds)
            return trials.stops(task, epoch)

        for task, outcome in workers.train(trials.next, stops):
            trials.finish(task.number, outcome)
            yield trials.finished()


def complete(trials: int) -> dict[str, Any]:
    """One search, in a process of its own as a user's is."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "src.tune", "--trials", str(trials)]
    subprocess.run(command, env=clean_environment(), check=True)
    seconds = time.perf_counter() - began
    best = json.loads(BEST.read_text(encoding="utf-8"))
    confirmed = pandas.read_csv(CONFIRMATION)
    return {
        "seconds": round(seconds, 1),
        "states": best["trials"],
        "trainings": int(confirmed["runs"].sum()),
        "objective": best["objective"][0],
        "verdict": best["verdict"],
        "rows": confirmed.astype(object).where(confirmed.notna(), None).to_dict("records"),
    }


def compare(trials: int, seeds: int) -> dict[str, Any]:
    params = load()
    rows = []
    with started(params) as workers:
        for seed in range(seeds):
            plan = asked(params, trials, seed=seed, sampler="random", pruner="none")
            *_, found = ended(workers, plan)
            best = results.ranked(found, plan.objectives[0])[0]
            other = asked(params, 2 * trials, seed=seed)
            reached = False
            for tried in ended(workers, other):
                reached = tried[-1].state == TrialState.COMPLETE and tried[-1].values[0] >= best.values[0]
                if reached:
                    break
            spent = sum(map(results.epochs, tried))
            rows.append(
                {
                    "seed": seed,
                    "random_best": round(best.values[0], 6),
                    "random_epochs": sum(map(results.epochs, found)),
                    "random_epochs_to_best": sum(map(results.epochs, found[: best.number + 1])),
                    "tpe_epochs_to_best": spent if reached else None,
                    "tpe_epochs": spent,
                    "tpe_trials": len(tried),
                }
            )
            print(rows[-1], flush=True)
    return {"seeds": seeds, "rows": rows}


def overhead(trials: int) -> dict[str, Any]:
    """Milliseconds by trial: median and quartiles. The first three trials warm up and do not count."""
    params = load()
    found = {}
    with started(params) as workers:
        for name, seed in {"without_mlflow_ms": 1, "with_mlflow_ms": 2}.items():
            plan = asked(params, trials + 3, seed=seed, pruner="none")
            runs = Runs(plan) if name == "with_mlflow_ms" else None
            spent: list[float] = []
            moments: list[tuple[float, float]] = []
            for finished in ended(workers, plan, spent):
                if runs:
                    runs.add(plan, finished[-1:])
                moments.append((time.perf_counter(), sum(spent)))
            if runs:
                runs.end("FINISHED", "", None)
            rest = [1000 * (after[0] - before[0] - (after[1] - before[1])) for before, after in pairwise(moments[2:])]
            found[name] = [round(float(value), 1) for value in np.percentile(rest, [50, 25, 75])]
    return found


def killed(trials: int) -> dict[str, Any]:
    params = load()
    plan = asked(params, trials)
    over = threading.Event()
    kills = []

    def kill() -> None:
        while not over.wait(EVERY):
            if children := [child.pid for child in active_children() if child.pid is not None]:
                kills.append(random.choice(children))
                os.kill(kills[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    began = time.perf_counter()
    thread.start()
    with started(params, WORKERS) as workers:
        *_, found = ended(workers, plan)
    over.set()
    thread.join()
    return {
        "workers": WORKERS,
        "kills": len(kills),
        "seconds": round(time.perf_counter() - began, 1),
        "finished_once": len({trial.number for trial in found if trial.state.is_finished()}),
        "failed": results.count_states(found)["failed"],
    }


def shared(trials: int, url: str, other: Path) -> dict[str, Any]:
    shutil.copytree(".", other)
    command = [sys.executable, "-m", "src.tune", "--storage", url, "--trials", str(trials)]
    began = time.perf_counter()
    parents = [
        subprocess.Popen(command, cwd=folder, env=clean_environment(), text=True, stdout=subprocess.PIPE)
        for folder in (Path.cwd(), other)
    ]
    with ThreadPoolExecutor() as readers:
        printed = list(readers.map(lambda parent: parent.communicate()[0], parents))
    assert not any(parent.returncode for parent in parents)
    own = [re.findall(r"^trial +(\d+) ", text, re.MULTILINE) for text in printed]
    name = printed[0].partition("search ")[2].partition(":")[0]
    with open_storage(name, url) as storage:
        found = storage.get_all_trials(storage.get_study_id_from_name(name))
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "by_parent": [len(numbers) for numbers in own],
        "by_both": len(set(own[0]) & set(own[1])),
        "finished": sum(trial.state.is_finished() for trial in found),
        "settings": len({str(trial.params) for trial in found}),
        "failed": sum(trial.state == TrialState.FAIL for trial in found),
    }


if __name__ == "__main__":
    main()
