"""How fast a device is: every loop in every precision, sizes of batches. Parts as in `benchmarks.gpu.machine`."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks import loops
from benchmarks.common import summary
from benchmarks.contenders import timed
from benchmarks.gpu.machine import opened, real, settings
from benchmarks.gpu.runner import Place
from benchmarks.loops import FLOOR, PLAIN, TUTORIAL
from benchmarks.problems import synthetic
from src.compute.batches import Batches
from src.compute.device import prepare
from src.training import augment

PRECISIONS = ("float32", "bfloat16")  # from the finest to the coarsest
COMPILED = ("bfloat16",)
ROUNDS, TURN = 3, 0.3  # alternated turns of each loop, and about how many seconds each
WORKERS = 8  # processes that load for the plain loader
EVALUATION = (128, 512, 2048, 8192)  # images of a batch
TOGETHER = (2**20, 2**22, 2**24, 2**26, 2**28)  # values of pixels that are augmented at once
DRAWN = 50_000  # images of an epoch whose augmentation is timed


def every_loop(place: Place, system: str) -> Iterator[dict[str, Any]]:
    """Compare the tutorial's loop, a plain loader, ours eager and compiled in each precision, and the floors."""
    known = opened(system, place)
    section = settings(known, place)
    precisions, workers, rounds, seconds = (
        (("float32",), 0, 1, 0.0) if place.small else (PRECISIONS, WORKERS, ROUNDS, TURN)
    )
    # A processor compiles one of them: it takes its time.
    compiled = ("float32",) if place.small and system == "mnist" else () if place.small else COMPILED
    found = loops.contestants(known, section, precisions, workers, compiled)
    wanted = {name: one for name, one in found.items() if name in (TUTORIAL, PLAIN) or name.startswith(("ours", FLOOR))}
    yield {"real_images": real(system, place), "batch_size": section.batch_size}
    yield from loops.alternated(wanted, known, section, rounds, seconds)


def sizes(place: Place, _: str) -> Iterator[dict[str, Any]]:
    """Time the forward pass by images of a batch, and augmentation by how much is augmented at once."""
    for recipe in ("mnist", "cifar10-vgg", "dogs-vs-cats"):
        yield {f"evaluation of {recipe}": evaluation(recipe, place)}
    for recipe in ("cifar10-vgg", "fashion-mnist"):
        yield {f"augmentation of {recipe}": augmentation(recipe, place)}


def evaluation(recipe: str, place: Place) -> dict[str, Any]:
    """Measure images per second in float32 and peak memory, by the size of batches."""
    photos = recipe == "dogs-vs-cats"
    known = synthetic(recipe, 32 if place.small else 2048 if photos else 10_000, 32 if place.small else None)
    compute = prepare(settings(known, place, precision="float32"), known.params.model.name)
    classifier = compute.place(known.classifier()).eval()
    held_out = Batches(known.evaluation, compute.device)
    order = torch.arange(len(held_out))

    def pass_on(size: int) -> None:
        with torch.no_grad():
            for batch, _ in held_out.take(order, size):
                classifier(batch)

    candidates = [size for size in ((8, 16) if place.small else EVALUATION) if size <= len(held_out)]
    return {str(size): measured(pass_on, size, len(held_out), place) for size in candidates}


def augmentation(recipe: str, place: Place) -> dict[str, Any]:
    """Measure images per second and peak memory, by how many values of pixels go together; and seconds to draw."""
    known = synthetic(recipe, 64 if place.small else DRAWN)
    section = settings(known, place)
    compute = prepare(section, known.params.model.name)
    data = Batches(known.training, compute.device)
    (height, width, channels), count = data.image_shape, len(data)
    order, generator = torch.arange(count), torch.Generator().manual_seed(0)
    drawing = timed(lambda: augment.draw(section.augment, count, (height, width), generator))
    draws = augment.draw(section.augment, count, (height, width), generator).to(compute.device)

    def pass_on(values: int) -> None:
        size = max(1, values // (section.batch_size * height * width * channels)) * section.batch_size
        for (batch, _), part in zip(data.take(order, size), draws.split(size), strict=True):
            augment.apply(section.augment, batch, part)

    candidates = (2**12, 2**14) if place.small else TOGETHER
    found: dict[str, Any] = {str(values): measured(pass_on, values, count, place) for values in candidates}
    return {"seconds_to_draw": round(drawing, 4), **found}


def measured(pass_on: Callable[[int], None], size: int, count: int, place: Place) -> dict[str, Any]:
    """Measure a pass over so many images: images per second, GiB."""
    if place.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    pass_on(size)
    rates = summary([count / timed(lambda: pass_on(size)) for _ in range(ROUNDS)])
    peak = round(torch.cuda.max_memory_allocated() / 2**30, 3) if place.device == "cuda" else None
    return {"images_per_second": rates, "peak_gib": peak}
