"""Whole trainings on a device: to the published results, `cifar10-speed`, airbench beside it.

Each function is the work of a part, as in `benchmarks.gpu.speeds`.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.contenders import now
from benchmarks.gpu.pack import AIRBENCH
from benchmarks.gpu.runner import Place
from benchmarks.gpu.speeds import PRECISIONS, opened, real, settings
from benchmarks.loops import COMPILED
from benchmarks.problems import Problem, synthetic
from src.compute.batches import Batches
from src.compute.device import prepare
from src.data.prepared import LabelledImages
from src.params import Train, writing
from src.training.loop import train

SEEDS = 3
AIRBENCH_RUNS = 5


class Target(NamedTuple):
    """What held-out images are to show: this accuracy or more, or this loss or less."""

    accuracy: float | None = None
    loss: float | None = None

    def reached(self, accuracy: float, loss: float) -> bool:
        return accuracy >= self.accuracy if self.accuracy is not None else loss <= (self.loss or 0.0)


# The published results; `mnist` was published with curves only, so its whole training is timed.
TARGETS = {
    "cifar10-basic": Target(accuracy=0.72),
    "cifar10-vgg": Target(accuracy=0.8647),
    "fashion-mnist": Target(loss=0.57),
    "mnist": None,
    "cifar10-vgg-modern": Target(accuracy=0.8647),
    "fashion-mnist-modern": Target(loss=0.57),
    "mnist-modern": None,
}
SPEED = Target(accuracy=0.94)


def compiling(place: Place, system: str) -> Iterator[dict[str, Any]]:
    """Compile a system in each precision beside other parts; the one that times it finds the kernels in torch's cache.

    A processor, which would take minutes, leaves it to that one.
    """
    for precision in () if place.small else PRECISIONS:
        known = synthetic(system, 4 * writing.load_recipe(system).train.batch_size)
        section = settings(known, place, precision=precision, compile=True)
        started = now()
        once(known, section.model_copy(update={"epochs": 1}), None, 0)
        yield {precision: f"compiled and trained for an epoch in {now() - started:.1f} s"}


def reaching(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Train the recipes to their published results, a seed of all before the next of one."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(1 if place.small else SEEDS):
        for recipe, target in TARGETS.items():
            if not place.small and not real(recipe, place):
                yield {recipe: "skipped: its images are not in the pack"}
                continue
            known = opened(recipe, place)
            section = settings(known, place)
            if seed == 0:
                once(known, section.model_copy(update={"epochs": 1}), target, seed)  # warms up
            rows.setdefault(recipe, []).append(once(known, section, target, seed))
            yield {recipe: rows[recipe]}


def speed(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Train `cifar10-speed` to its end with several seeds, eager and compiled; the first training of each tells how
    long compiling, tuning and recording take."""
    known = opened("cifar10-speed", place)
    yield {"real_images": real("cifar10-speed", place)}
    for name in ("eager",) if place.small else ("eager", COMPILED):
        section = settings(known, place, compile=name == COMPILED)
        first = once(known, section.model_copy(update={"epochs": 1}), SPEED, 0)
        runs = []
        for seed in range(1 if place.small else SEEDS):
            runs.append(once(known, section, SPEED, seed, whole=True))
            yield {name: {"first_epoch_seconds": first["seconds"], "runs": runs}}


def once(known: Problem, section: Train, target: Target | None, seed: int, *, whole: bool = False) -> dict[str, Any]:
    """Train until the held-out images show the target, or to the recipe's end; seconds are those of training alone."""
    compute = prepare(section, known.params.model.name)
    training, held_out = (Batches(data, compute.device) for data in (known.training, known.evaluation))
    section = section.model_copy(update={"record_every": 0, "patience": None})
    seconds, peak, reached = 0.0, 0.0, None
    for epoch in train(known.spec.build(seed), training, held_out, section, seed, compute):
        seconds += len(training) / epoch.images_per_second
        peak = max(peak, epoch.peak_gpu_memory_gib or 0.0)
        accuracy, loss = epoch.validation_accuracy or 0.0, epoch.validation_loss or 0.0
        if target is not None and reached is None and target.reached(accuracy, loss):
            reached = round(seconds, 3)
            if not whole:
                break
    return {
        "seed": seed,
        "target": None if target is None else target._asdict(),
        "precision": compute.precision,
        "seconds_to_target": reached,
        "seconds": round(seconds, 3),
        "epochs": epoch.number,
        "accuracy": accuracy,
        "loss": round(loss, 4),
        "peak_gib": round(peak, 3) or None,
    }


def airbench(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Run airbench's own script, a few times instead of 200, on the images of `cifar10-speed`."""
    script = place.pack / "airbench" / AIRBENCH
    if place.device != "cuda" or not script.exists():
        yield {"skipped": "it computes on CUDA alone" if script.exists() else "it is not in the pack"}
        return
    known = opened("cifar10-speed", place)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary, "cifar10")
        data.mkdir()
        for name, split in {"train": known.training, "test": known.evaluation}.items():
            torch.save(as_airbench_reads(split, known.spec.classes), data / f"{name}.pt")
        code = script.read_text(encoding="utf-8")
        if "range(200)" not in code:
            raise RuntimeError(f"{AIRBENCH} is another version: it has no range(200)")
        Path(temporary, AIRBENCH).write_text(code.replace("range(200)", f"range({AIRBENCH_RUNS})"), encoding="utf-8")
        printed = ""
        with subprocess.Popen(
            [sys.executable, "-u", AIRBENCH], cwd=temporary, stdout=subprocess.PIPE, text=True
        ) as run:
            for line in run.stdout or ():
                printed += line
                if "eval" in line:
                    yield airbench_result(printed)
        if run.returncode:
            raise RuntimeError(f"{AIRBENCH} ended with exit code {run.returncode}")


def as_airbench_reads(data: LabelledImages, classes: Iterable[str]) -> dict[str, Any]:
    """uint8 (N, H, W, C), int64 (N,) and the classes' names: what its loader would have saved."""
    images, labels = (torch.from_numpy(part.copy()) for part in data)
    return {"images": images, "labels": labels, "classes": list(classes)}


def airbench_result(printed: str) -> dict[str, Any]:
    """Read accuracies (with its test-time augmentation) and seconds from its table; the first run warms up."""
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in printed.splitlines()]
    last = [row for row in rows if "eval" in row][1:]
    return {"accuracy": [float(row[-2]) for row in last], "seconds": [float(row[-1]) for row in last]}
