"""What a run costs besides training: imports, the way to the first batch, tracking, and logging the model.

    python -m benchmarks.overhead                         digits, 100 epochs (about a minute), three runs of each case
    python -m benchmarks.overhead mnist --set data.source=../shared/datasets/mnist-idx.tar.xz --epochs 5

In a clone of the repository as it is committed: the imports of every stage and of a bare interpreter, then `train` with
MLflow and with a run that does nothing, in alternation, then `evaluate`; each in a process of its own, the real stages,
with clocks around what they call. Everything runs once before it counts: times are warm. The first batch is the end of
the classifier's first forward pass; the share of tracking is that of the calls between the first batch and the last.
Keeps `benchmarks/overhead.json`, one entry per recipe with its changes.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import hardware, keep, summary, versions
from benchmarks.pipeline import clean_environment, cloned
from src.faults import command
from src.paths import states

RESULTS = Path("benchmarks/overhead.json")
STAGES = ("download", "split", "train", "evaluate", "visualize")
TRACKED, UNTRACKED = "train, tracked", "train, not tracked"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="digits")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter to change")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--case", nargs=3, metavar=("STAGE", "TRACKED", "STARTED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        stage, tracked, started = arguments.case
        clocked(stage, tracked == "yes", float(started))
        return
    changed = [*arguments.set, f"train.epochs={arguments.epochs}"]
    result = {
        "recipe": arguments.recipe,
        "changed": changed,
        "runs": arguments.runs,
        "hardware": hardware(),
        "versions": versions("torch", "mlflow"),
        **measured(arguments.recipe, changed, arguments.runs),
    }
    keep(RESULTS, result, same=("recipe", "changed"))
    print(table(result))


def measured(recipe: str, changed: list[str], count: int) -> dict[str, Any]:
    """Seconds by stage: of imports, and of what the clocks in the stages saw."""
    with tempfile.TemporaryDirectory() as temporary:
        clone = cloned(Path(temporary, "clone"), recipe, changed)
        for stage in ("download", "split"):
            python(clone, "-m", f"stages.{stage}")
        programs = {"a bare interpreter": "pass"} | {stage: f"import stages.{stage}" for stage in STAGES}
        imports: dict[str, list[float]] = {name: [] for name in programs}
        for number in range(count + 1):
            for name, code in programs.items():
                started = time.time()
                ended = float(python(clone, "-c", f"{code}; import time; print(time.time())"))
                if number:
                    imports[name].append(ended - started)
        cases = {TRACKED: ("train", "yes"), UNTRACKED: ("train", "no"), "evaluate": ("evaluate", "yes")}
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
        case(clone, *cases[TRACKED])  # makes the store, and the model that evaluate needs
        for _ in range(count):
            for name, arguments in cases.items():
                seen[name].append(case(clone, *arguments))
    share = [one["logging"] / one["training"] for one in seen[TRACKED]]
    longer = [a["training"] / b["training"] for a, b in zip(seen[TRACKED], seen[UNTRACKED], strict=True)]
    return {
        "imports": {name: summary(seconds) for name, seconds in imports.items()},
        "stages": {name: {key: summary([one[key] for one in runs]) for key in runs[0]} for name, runs in seen.items()},
        "logging_of_training": summary(share),
        "tracked_of_untracked": summary(longer),
    }


def case(clone: Path, stage: str, tracked: str) -> dict[str, float]:
    """What the clocks saw in one run of a stage, in a process of its own."""
    output = python(clone, "-m", "benchmarks.overhead", "--case", stage, tracked, str(time.time()))
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def python(clone: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=clone, env=clean_environment(), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return run.stdout


def clocked(stage: str, tracked: bool, started: float) -> None:
    """Runs a stage of this process's folder with clocks around what it calls, and prints what they saw as JSON.

    started: when the process was asked for, in seconds since 1970.
    """
    import importlib

    from src.models.classifier import Classifier
    from src.tracking import Run

    shutil.rmtree(states(), ignore_errors=True)  # else the training before would count as this one, interrupted
    module: Any = importlib.import_module(f"stages.{stage}")
    seen: dict[str, float] = {"imports": time.time() - started}
    forward = Classifier.forward

    def first_forward(self: Classifier, images: Any) -> Any:
        outputs = forward(self, images)
        seen.setdefault("first_batch", time.time() - started)
        Classifier.forward = forward  # type: ignore[method-assign]
        return outputs

    Classifier.forward = first_forward  # type: ignore[method-assign]
    if stage == "train":
        module.train = spanning(module.train, seen)
        if tracked:
            seen["logging"] = 0.0
            Run.log_epoch = adding(Run.log_epoch, seen, "logging")  # type: ignore[method-assign]
            Run.log_model = adding(Run.log_model, seen, "model")  # type: ignore[method-assign]
            module.tracking.training_run = opening(module.tracking.training_run, seen)
        else:
            module.tracking.training_run = untracked
    module.main()
    seen["all"] = time.time() - started
    print(json.dumps(seen))


def spanning(train: Callable[..., Iterator[Any]], seen: dict[str, float]) -> Callable[..., Iterator[Any]]:
    """The training loop, with the seconds between its first batch and its end, what its driver does included."""

    def spanned(*arguments: Any) -> Iterator[Any]:
        started = time.perf_counter()
        yield from train(*arguments)
        seen["training"] = time.perf_counter() - started

    return spanned


def adding(method: Callable[..., Any], seen: dict[str, float], key: str) -> Callable[..., Any]:
    """The method, with the seconds of all its calls."""

    def added(*arguments: Any) -> Any:
        started = time.perf_counter()
        result = method(*arguments)
        seen[key] = seen.get(key, 0.0) + time.perf_counter() - started
        return result

    return added


def opening(training_run: Callable[..., Any], seen: dict[str, float]) -> Callable[..., Any]:
    """The run, with the seconds until it is open, MLflow's imports among them, and those that its end takes."""

    @contextmanager
    def opened(*arguments: Any) -> Iterator[Any]:
        started = time.perf_counter()
        with training_run(*arguments) as run:
            seen["opening"] = time.perf_counter() - started
            yield run
            started = time.perf_counter()
        seen["closing"] = time.perf_counter() - started

    return opened


class _Nothing:
    """A run that keeps nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


@contextmanager
def untracked(*_: Any) -> Iterator[_Nothing]:
    yield _Nothing()


def table(result: dict[str, Any]) -> str:
    changed = ", ".join(result["changed"])
    lines = [f"{result['recipe']} with {changed}: {result['runs']} runs; {result['hardware']}; {result['versions']}"]
    lines += [f"imports, {name:<24}{_seconds(found)}" for name, found in result["imports"].items()]
    for stage, clocks in result["stages"].items():
        lines += [f"{stage + ', ' + key:<33}{_seconds(found)}" for key, found in clocks.items()]
    for key in ("logging_of_training", "tracked_of_untracked"):
        lines.append("{}: {median:.2%} ({quartile_1:.2%} to {quartile_3:.2%})".format(key, **result[key]))
    return "\n".join(lines)


def _seconds(found: dict[str, float]) -> str:
    return "{median:.2f} s ({quartile_1:.2f} to {quartile_3:.2f})".format(**found)


if __name__ == "__main__":
    command(main)
