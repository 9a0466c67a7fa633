"""What must hold of training on a device: equal bits, nothing that waits, compiled gradients.

Each function is the work of a part (`benchmarks.gpu.runner`): it yields what it found so far. A case whose entry has
`faults` does not keep what the project promises; the part goes on to the others, and then fails.
"""

import hashlib
import io
import os
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.runner import Place
from benchmarks.loops import apart
from benchmarks.problems import Problem, synthetic
from src.compute.batches import Batches
from src.compute.device import prepare
from src.models.classifier import Classifier
from src.params import Train, writing
from src.training import augment
from src.training.loop import train
from src.training.losses import Target
from src.training.resume import Progress
from src.training.step import TrainStep

ALL = writing.names()
STEPS, WARM = 20, 10  # steps that are watched, after those that compile, tune and record graphs
SYNCHRONIZING = "called a synchronizing CUDA operation"  # what torch says then
TOLERANCE = 1e-3  # ‖difference‖ / ‖gradient‖ of two ways to compute in float32

Case = Callable[[str], dict[str, Any]]


def each(names: Iterable[str], case: Case) -> Iterator[dict[str, Any]]:
    """Yield the entry of each case; then raise `RuntimeError` where some have `faults`, or raised something."""
    broken = []
    for name in names:
        try:
            entry = case(name)
        except Exception as error:
            traceback.print_exc()
            entry = {"faults": [f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"]}
        broken += [f"{name}: {fault}" for fault in entry.get("faults", [])]
        yield {name: entry}
    if broken:
        raise RuntimeError("\n".join(broken))


def faults(possible: dict[str, bool]) -> dict[str, Any]:
    """Return the faults that are there, as an entry has them: each possible one comes with whether it is."""
    found = [fault for fault, there in possible.items() if there]
    return {"faults": found} if found else {}


def small(recipe: str, place: Place, **changes: Any) -> tuple[Problem, Train]:
    """Take a recipe with noise for images: a few of its batches, on a processor two of 8 small images."""
    asked = writing.load_recipe(recipe)
    batch_size = 8 if place.small else min(asked.train.batch_size, 512)
    photos = asked.data.name == "image_folder"
    known = synthetic(recipe, (2 if place.small else 4) * batch_size, 32 if place.small and photos else None)
    # A processor would compile for minutes.
    wanted = {"device": place.device, "batch_size": batch_size, "threads": 1, "epochs": 2, "deterministic": True}
    wanted |= {"compile": asked.train.compile and not place.small}
    return known, asked.train.model_copy(update=wanted | changes)


# ---- equal bits ----


class Trained(NamedTuple):
    """digest: of the weights; epochs: that this training took; state: after the first epoch, as bytes."""

    digest: str
    epochs: int
    state: bytes
    alerts: list[str]
    peak_gib: float | None


def trained(recipe: str, place: Place, state: bytes = b"", **changes: Any) -> Trained:
    """Train a recipe small, from the beginning or from where another training stood."""
    known, section = small(recipe, place, **changes)
    compute = prepare(section, known.params.model.name)
    classifier, images = known.classifier(), Batches(known.training, compute.device)
    progress, kept, peaks = Progress(), io.BytesIO(), list[float]()
    if state:
        progress.restore(torch.load(io.BytesIO(state), weights_only=True))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch in train(classifier, images, images, section, 0, compute, progress):
            peaks.append(epoch.peak_gpu_memory_gib or 0.0)
            if epoch.number == 1:
                torch.save(progress.state(), kept)
    alerts = sorted({f"{one.category.__name__}: {' '.join(str(one.message).split())[:200]}" for one in caught})
    return Trained(digest(classifier), len(peaks), kept.getvalue(), alerts, round(max(peaks), 3) or None)


def digest(classifier: Classifier) -> str:
    found = hashlib.sha256()
    for weights in classifier.state_dict().values():
        found.update(weights.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def equal_bits(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Train every recipe, train it again in another process, and go on there from the state after one epoch."""
    with apart() as other:

        def case(recipe: str) -> dict[str, Any]:
            first = trained(recipe, place)
            again = other.submit(trained, recipe, place).result()
            resumed = other.submit(trained, recipe, place, first.state).result()
            alerts = sorted({*first.alerts, *again.alerts, *resumed.alerts})
            possible = {
                "a second training ended with other bits": again.digest != first.digest,
                "a resumed training ended with other bits": resumed.digest != first.digest,
                "a resumed training began anew": resumed.epochs == first.epochs,
                "there were warnings": bool(alerts),
            }
            return {"weights": first.digest[:12], "alerts": alerts, "peak_gib": first.peak_gib, **faults(possible)}

        yield from each(ALL, case)


# ---- nothing waits ----


def waiting(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Tell where in `src` the host waits for the GPU within the steps of each recipe.

    In torch's mode that warns, not the one that raises: it tells all places, with their numbers in `STEPS` steps.
    """

    def case(recipe: str) -> dict[str, Any]:
        asked = writing.load_recipe(recipe).train.deterministic
        known, section = small(recipe, place, deterministic=bool(asked))
        step = stepping(known, section)
        for _ in range(2 if place.small else WARM):
            step()
        places = Counter[str]()

        def note(message: Warning | str, *rest: Any, **options: Any) -> None:
            if SYNCHRONIZING in str(message):
                places[last_of_ours(traceback.extract_stack())] += 1

        steps = 2 if place.small else STEPS
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note
            if place.device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode("warn")
            try:
                for _ in range(steps):
                    step()
            finally:
                if place.device == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
        return {"waits": dict(places), "steps": steps, **faults({f"waits at {', '.join(places)}": bool(places)})}

    yield from each(ALL, case)


def stepping(known: Problem, section: Train) -> Callable[[], None]:
    """Return what makes one step of training, as the loop does between two batches: augmentation and learning."""
    compute = prepare(section, known.params.model.name)
    images = Batches(known.training, compute.device)
    train_step = TrainStep(known.classifier(), section, images.labels, compute)
    train_step.classifier.train()
    count, (height, width, _) = len(images), images.image_shape
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(count, generator=generator)
    alternate = augment.alternating(order, count, 0, 1) if section.augment.flip == "alternate" else None
    draws = augment.draw(section.augment, count, (height, width), generator, alternate).to(compute.device)
    batches = list(zip(images.take(order, section.batch_size), draws.split(section.batch_size), strict=True))
    done = 0

    def step() -> None:
        nonlocal done
        (batch, labels), part = batches[done % len(batches)]
        done += 1
        pixels, mix = augment.apply(section.augment, batch, part)
        train_step.step(pixels, Target.of(labels, mix), 1e-3, done)

    return step


def last_of_ours(stack: traceback.StackSummary) -> str:
    """Name the innermost line of `src` on a stack."""
    root = Path("src").resolve()
    for frame in reversed(stack):
        if (file := Path(frame.filename).resolve()).is_relative_to(root):
            return f"src/{file.relative_to(root)}:{frame.lineno} in {frame.name}"
    return "outside src"


# ---- compiled ----


def compiled_gradients(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Compare compiled gradients, added up from parts of a batch, with eager ones."""
    parts = 2 if place.small else 4

    def case(recipe: str) -> dict[str, Any]:
        eager, own = (gradients(recipe, place, parts, compiled=mode) for mode in (False, True))
        largest = max(map(distance, own, eager))
        different = faults({f"compiled gradients differ by {largest:.2g} from eager ones": largest > TOLERANCE})
        return {"parts": parts, "largest_difference": float(f"{largest:.3g}"), **different}

    yield from each(("mnist",) if place.small else ("cifar10-basic", "cifar10-speed"), case)


def compiled_bits(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Compare the bits of two trainings that were compiled anew."""

    def case(recipe: str) -> dict[str, Any]:
        first, second = compiled_apart(recipe, place)
        different = faults({"a second compiler made other bits": first.digest != second.digest})
        return {"weights": first.digest[:12], "alerts": sorted({*first.alerts, *second.alerts}), **different}

    yield from each(("mnist",) if place.small else ("cifar10-speed",), case)


def gradients(recipe: str, place: Place, parts: int, *, compiled: bool) -> list[Tensor]:
    """Return the whole gradient, one vector, after each of some steps that change no weights; without dropout."""
    known, section = small(recipe, place, precision="float32", accumulate=parts, compile=compiled)
    model = known.params.model.model_copy(update={"dropout": 0.0})
    classifier = known.spec.model_copy(update={"model": model}).build(0)
    compute = prepare(section, model.name)
    images, labels = (torch.from_numpy(part[: section.batch_size].copy()).to(compute.device) for part in known.training)
    train_step = TrainStep(classifier, section, labels, compute)
    train_step.classifier.train()
    found = []
    for number in range(1, 3 if place.small else 6):  # CUDA graphs are recorded at the second, and replayed later
        train_step.step(images, Target.of(labels, None), 0.0, number)
        found.append(torch.cat([weight.grad.flatten() for weight in train_step.weights if weight.grad is not None]))
    return found


def distance(found: Tensor, expected: Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖; infinite where there is a NaN."""
    ratio = float((found - expected).norm() / expected.norm())
    return ratio if np.isfinite(ratio) else float("inf")


def compiled_apart(recipe: str, place: Place) -> list[Trained]:
    """Train compiled in two processes at once, none of which finds what the other, or an earlier one, compiled."""
    with tempfile.TemporaryDirectory() as folder, apart() as one, apart() as other:
        futures = []
        for number, process in enumerate((one, other)):
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/{number}"  # its process begins now, with it
            futures.append(process.submit(trained, recipe, place, compile=True, epochs=1))
        return [future.result() for future in futures]
