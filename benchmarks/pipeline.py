"""Time and peak anonymous memory of every stage of a recipe, through `dvc repro` in a copy of the repository.

    python -m benchmarks.pipeline mnist-modern --set data.source=../shared/datasets/mnist-idx.tar.xz --runs 3

Prints a table and adds it to `benchmarks/pipeline.json`. Memory is RssAnon: what the process itself has filled, without
the pages of memory-mapped files, which the system takes back when it needs them. Linux only.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import hardware, keep, versions
from src.params import writing

ROOT = Path.cwd()
RESULTS = ROOT / "benchmarks/pipeline.json"
EVERY = 0.02  # seconds between two looks at memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter to change")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    runs = [run(arguments.recipe, arguments.set) for _ in range(arguments.runs)]
    result = {
        "recipe": arguments.recipe,
        "changed": arguments.set,
        "runs": len(runs),
        "hardware": hardware(),
        "versions": versions("torch", "dvc", "mlflow"),
        "stages": {stage: summary([one[stage] for one in runs]) for stage in runs[0] if stage != "results"},
        "results": runs[0]["results"],
    }
    print(table(result))
    keep(RESULTS, result, same=("recipe", "changed"))


def reports(clone: Path) -> dict[str, Any]:
    """What training and evaluation say of themselves."""
    return {name: json.loads((clone / f"reports/{name}.json").read_text()) for name in ("training", "metrics")}


def run(recipe: str, changes: list[str], results: Callable[[Path], Any] = reports) -> dict[str, Any]:
    """One `dvc repro` from nothing, then one with nothing to do. Seconds and MiB by stage, and the copy's `results`."""
    with tempfile.TemporaryDirectory() as temporary:
        clone = cloned(Path(temporary, "clone"), recipe, changes)
        environment = clean_environment()
        started = time.perf_counter()
        process = subprocess.Popen(["dvc", "repro"], cwd=clone, env=environment, stdout=subprocess.DEVNULL)
        watcher = Watcher(process.pid)
        watcher.start()
        code = process.wait()
        seconds = time.perf_counter() - started
        watcher.join()
        if code:
            sys.exit(f"dvc repro ended with exit code {code}")
        started = time.perf_counter()
        subprocess.run(["dvc", "repro"], cwd=clone, env=environment, stdout=subprocess.DEVNULL, check=True)
        again = time.perf_counter() - started
        found = results(clone)
    stages = watcher.stages | {"all, by dvc repro": (seconds, 0.0), "again, nothing to do": (again, 0.0)}
    return stages | {"results": found}


def cloned(clone: Path, recipe: str, changes: list[str]) -> Path:
    """The repository as it is committed, with the recipe as its parameters, some of their values changed."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    configure(clone, recipe, changes)
    return clone


def configure(clone: Path, recipe: str, changes: Iterable[str]) -> None:
    """Make the recipe the clone's parameters, some of their values changed."""
    values = writing.assigned(changes)
    if "://" not in (source := values.get("data.source") or "://"):
        values["data.source"] = str(
            (ROOT / source).resolve()
        )  # relative to the repository, which the copy is not beside
    (clone / "params.yaml").write_text(writing.changed(writing.recipe(recipe), values), encoding="utf-8")


def clean_environment() -> dict[str, str]:
    """Ours without what DVC and MLflow would take from it."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}


class Watcher(threading.Thread):
    """Sees the stages come and go among the processes that `dvc` starts."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process(pid)
        self.stages: dict[str, tuple[float, float]] = {}

    def run(self) -> None:
        while True:
            try:
                children = self.process.children(recursive=True)
                if self.process.status() == psutil.STATUS_ZOMBIE:
                    return
            except psutil.NoSuchProcess:
                return
            for child in children:
                self.look(child)
            time.sleep(EVERY)

    def look(self, process: psutil.Process) -> None:
        try:
            stage = re.search(r"stages\.(\w+)", " ".join(process.cmdline()))
            status = Path(f"/proc/{process.pid}/status").read_text()
            seconds = time.time() - process.create_time()
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return
        anonymous = re.search(r"RssAnon:\s+(\d+) kB", status)
        if stage and anonymous:
            peak = self.stages.get(stage[1], (0.0, 0.0))[1]
            self.stages[stage[1]] = (seconds, max(peak, int(anonymous[1]) / 1024))


def summary(values: list[tuple[float, float]]) -> dict[str, float]:
    seconds, memory = zip(*values, strict=True)
    return {
        "seconds": round(statistics.median(seconds), 1),
        "seconds_min": round(min(seconds), 1),
        "seconds_max": round(max(seconds), 1),
        "rss_anon_mib": round(max(memory)),
    }


def table(result: dict[str, Any]) -> str:
    changed = f" with {', '.join(result['changed'])}" if result["changed"] else ""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [
        f"{result['recipe']}{changed}: {result['runs']} runs on {result['hardware']}; {versions}",
        f"{'stage':<22}{'median s':>10}{'min':>8}{'max':>8}{'MiB':>8}",
    ]
    for stage, row in result["stages"].items():
        memory = f"{row['rss_anon_mib']:>8}" if row["rss_anon_mib"] else ""
        lines.append(f"{stage:<22}{row['seconds']:>10}{row['seconds_min']:>8}{row['seconds_max']:>8}{memory}")
    training, metrics = result["results"]["training"], result["results"]["metrics"]
    lines.append(f"validation accuracy {training['validation_accuracy']} (epoch {training['best_epoch']})")
    low, high = metrics.get("accuracy_ci_low"), metrics.get("accuracy_ci_high")
    lines.append(f"test accuracy {metrics.get('accuracy')} ({low} to {high})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
