"""Time and peak anonymous memory of every stage of a recipe, through `dvc repro` in a copy of the repository.

    python -m benchmarks.pipeline mnist-modern --set data.source=../shared/datasets/mnist-idx.tar.xz --runs 3

Adds them to `benchmarks/pipeline.json`. Memory is RssAnon: what the process itself has filled, without the pages of
memory-mapped files, which the system takes back when it needs them. Linux only.
"""

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import FOLDER, anonymous_mib, command_line, hardware, keep, versions
from src.core.documents import read_yaml
from src.core.errors import UserError, command
from src.params import writing

ROOT = Path.cwd()
RESULTS = FOLDER / "pipeline.json"
EVERY = 0.02  # seconds between two looks at the stages


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter to change")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    runs = [run(arguments.recipe, arguments.set)[0] for _ in range(arguments.runs)]
    stages = {}
    for stage in runs[0]:
        seconds, memory = zip(*(one[stage] for one in runs), strict=True)
        stages[stage] = {
            "seconds": round(statistics.median(seconds), 1),
            "seconds_min": round(min(seconds), 1),
            "seconds_max": round(max(seconds), 1),
            "rss_anon_mib": round(max(memory)),
        }
        print(stage, stages[stage], flush=True)
    result = {
        "recipe": arguments.recipe,
        "changed": arguments.set,
        "runs": len(runs),
        "hardware": hardware(),
        "versions": versions("torch", "dvc", "mlflow"),
        "stages": stages,
    }
    keep(RESULTS, result, same=("recipe", "changed"))


def run(
    recipe: str, changes: list[str], read: Callable[[Path], Any] = lambda clone: None
) -> tuple[dict[str, tuple[float, float]], Any]:
    """Run `dvc repro` from nothing, then once more; return seconds and MiB by stage, and what `read` finds in the copy.

    Raises `UserError` where `dvc repro` fails.
    """
    stages: dict[str, tuple[float, float]] = {}
    began: dict[int, float] = {}  # when a process was first seen: what the system says is rounded to seconds
    with tempfile.TemporaryDirectory() as temporary:
        clone = cloned(Path(temporary, "clone"), recipe, changes)
        for name in ("all, by dvc repro", "again, nothing to do"):
            started = time.perf_counter()
            process = subprocess.Popen(["dvc", "repro"], cwd=clone, env=clean_environment(), stdout=subprocess.DEVNULL)
            while process.poll() is None:
                with suppress(psutil.NoSuchProcess, OSError):  # one that has ended since it was listed
                    for child in psutil.Process(process.pid).children(recursive=True):
                        if stage := re.search(r"stages\.(\w+)", " ".join(child.cmdline())):
                            peak = stages.get(stage[1], (0.0, 0.0))[1]
                            now = time.perf_counter()
                            seconds = now - began.setdefault(child.pid, now)
                            stages[stage[1]] = (seconds, max(peak, anonymous_mib(child.pid)))
                time.sleep(EVERY)
            if process.returncode:
                raise UserError(f"dvc repro ended with exit code {process.returncode}: see its lines above")
            stages[name] = (time.perf_counter() - started, 0.0)
        return stages, read(clone)


def cloned(clone: Path, recipe: str, changes: list[str]) -> Path:
    """Clone the repository as it is committed, with the recipe as its parameters, some of their values changed."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    configure(clone, recipe, changes)
    return clone


def configure(clone: Path, recipe: str, changes: Iterable[str]) -> None:
    """Make the recipe the clone's parameters, some of their values changed; a source is relative to this repository."""
    values = {key: read_yaml(value) for key, _, value in (change.partition("=") for change in changes)}
    if (source := values.get("data.source")) and "://" not in source:
        values["data.source"] = str((ROOT / source).resolve())
    (clone / "params.yaml").write_text(writing.changed(writing.recipe(recipe), values), encoding="utf-8")


def clean_environment() -> dict[str, str]:
    """Return our environment without what DVC and MLflow would take from it."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}


if __name__ == "__main__":
    command(main)
