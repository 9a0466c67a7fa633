"""Trainings on a device: to the published results, and `cifar10-speed`. Parts as in `benchmarks.gpu.machine`."""

import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.contenders import now
from benchmarks.gpu.machine import opened, real, settings
from benchmarks.gpu.runner import Place
from benchmarks.gpu.speeds import COMPILED
from benchmarks.problems import Problem, synthetic
from src.compute.batches import Batches
from src.compute.device import prepare
from src.evaluation.tta import log_mean_probabilities
from src.params import Train, writing
from src.training.loop import train

SEEDS = 3


class Target(NamedTuple):
    """Name what held-out images are to show: this accuracy or more, and this loss or less."""

    accuracy: float = 0.0
    loss: float = float("inf")


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
    """Compile a system beside other parts; the one that times it finds the kernels in torch's cache.

    A processor, which would take minutes, leaves it to that one.
    """
    for precision in () if place.small else COMPILED:
        known = synthetic(system, 4 * writing.load_recipe(system).train.batch_size)
        started = now()
        once(known, settings(known, place, precision=precision, compile=True, epochs=1), None, 0)
        yield {precision: f"compiled and trained for an epoch in {now() - started:.1f} s"}


def reaching(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Train the recipes to their published results, a seed of all before the next of one."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(1 if place.small else SEEDS):
        for recipe, target in TARGETS.items():
            if place.small or real(recipe, place):
                known = opened(recipe, place)
                section = settings(known, place)
                if seed == 0:
                    once(known, section.model_copy(update={"epochs": 1}), target, seed)  # warms up
                rows.setdefault(recipe, []).append(once(known, section, target, seed))
                yield {recipe: rows[recipe]}


def speed(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Train `cifar10-speed` to its end with several seeds, eager and compiled, after an epoch that warms up."""
    known = opened("cifar10-speed", place)
    yield {"real_images": real("cifar10-speed", place)}
    for name in ("eager",) if place.small else ("eager", "compiled"):
        section = settings(known, place, compile=name == "compiled")
        once(known, section.model_copy(update={"epochs": 1}), SPEED, 0)
        runs = []
        for seed in range(1 if place.small else SEEDS):
            runs.append(once(known, section, SPEED, seed, whole=True))
            yield {name: runs}


def once(known: Problem, section: Train, target: Target | None, seed: int, *, whole: bool = False) -> dict[str, Any]:
    """Train until the held-out images show the target, or to the recipe's end; seconds are without validation.

    The first epoch's contain what comes before it, such as whitening, and the recording of a step. whole: train to the
    end whatever is reached, and test the last weights with test-time augmentation, too.
    """
    compute = prepare(section, known.params.model.name)
    training, held_out = (Batches(data, compute.device) for data in (known.training, known.evaluation))
    section = section.model_copy(update={"record_every": 0, "patience": None})
    by_epoch, peak, reached, augmented = list[float](), 0.0, None, {}
    classifier = known.spec.build(seed)
    started = now()
    for epoch in train(classifier, training, held_out, section, seed, compute):
        before = now() - started - epoch.seconds if epoch.number == 1 else 0.0
        by_epoch.append(round(before + len(training) / epoch.images_per_second, 4))
        peak = max(peak, epoch.peak_gpu_memory_gib or 0.0)
        accuracy, loss = epoch.validation_accuracy or 0.0, epoch.validation_loss or 0.0
        if target and reached is None and accuracy >= target.accuracy and loss <= target.loss:
            reached = round(sum(by_epoch), 3)
            if not whole:
                break
        if whole and epoch.number == section.epochs:  # the last weights: when `train` ends come the best ones
            began = now()
            answers = log_mean_probabilities(classifier, held_out, known.params.evaluate.tta, compute).argmax(dim=1)
            right = (answers == held_out.labels).float().mean().item()  # without the intervals that the pipeline adds
            augmented = {"accuracy_tta": right, "seconds_of_tta": round(now() - began, 4)}
    return {
        "seed": seed,
        "precision": compute.precision,
        "seconds_to_target": reached,
        "seconds": round(sum(by_epoch), 3),
        "seconds_of_later_epochs": round(statistics.median(by_epoch[1:] or by_epoch), 4),
        "epochs": epoch.number,
        "accuracy": accuracy,
        "loss": round(loss, 4),
        "peak_gib": round(peak, 3),
    } | augmented
