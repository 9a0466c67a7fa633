"""Suggest settings for the user's photos from their number by class and a few steps that are run on this machine."""

import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from src.compute import device
from src.core.errors import UserError
from src.core.paths import DATASET, IMAGES
from src.data.images import SUFFIXES
from src.data.layout import is_generated, read_layout
from src.data.prepared import ImageFormat, read_dataset
from src.models.build import build
from src.params import Params
from src.training.losses import Target
from src.training.step import TrainStep

_STEPS = 4  # that are timed; the first prepares memory
_UNEVEN = 3  # times as many images in the largest class as in the smallest


def suggest(params: Params) -> Iterator[tuple[str, object, str]]:
    """Yield a dotted key, the value it should have, and why, for the network and the image size of these parameters.

    Times are of steps with random pixels and weights, which take as long as others. Raises `UserError` without photos.
    """
    train = 1 - params.split.validation - params.split.test
    counts = _counts(train)
    images, classes = sum(counts), len(counts)
    size = params.data.image_size or 224
    settings = params.train.model_copy(update={"batch_size": _batch_size(images)})
    compute = device.prepare(settings, params.model.name)
    model = params.model.model_copy(update={"weights": "none", "freeze": False})
    image = ImageFormat(height=size, width=size, channels=3, resize=params.data.resize)
    classifier = compute.place(build(model, image, classes, [0.5] * 3, [0.25] * 3))
    pixels = torch.randint(256, (settings.batch_size, size, size, 3), dtype=torch.uint8).to(compute.device)
    labels = (torch.arange(len(pixels)) % classes).to(compute.device)
    with torch.no_grad():
        forward = _seconds(lambda: classifier.eval()(pixels), compute.device) / len(pixels)
    step = TrainStep(classifier.train(), settings, labels, compute)
    learned = _seconds(lambda: step.step(pixels, Target(labels), 1e-9, 1), compute.device) / len(pixels)

    seen = images / train * (1 - params.split.test)  # of train and validation
    machine = f"{os.cpu_count()} processors" if compute.device.type == "cpu" else str(compute)
    yield "data.image_size", size, f"of the recipe for {model.name}; half of it takes a quarter of the time"
    yield (
        "model.freeze",
        "true",
        f"features first: {seen * forward:.0f} s for {seen:,.0f} photos, then one layer in seconds; fine-tuned instead "
        f"(false) {images * learned:.0f} s an epoch; {machine}",
    )
    yield "train.batch_size", len(pixels), f"{images:,} images of {classes} classes train: 20 steps an epoch or more"
    yield "train.epochs", params.train.epochs, "of the recipe, for one layer; 3 are a start to fine-tune with"
    if max(counts) >= _UNEVEN * min(counts):
        yield "train.sampling", "balanced", f"{max(counts):,} images of the largest class, {min(counts):,} of the least"


def _counts(share: float) -> list[int]:
    """Return the training images by class: of the prepared data, else the given share of the photos in data/images."""
    if DATASET.is_file():
        return list(read_dataset().splits["train"].per_class.values())
    files = (file.relative_to(IMAGES) for file in IMAGES.rglob("*") if file.suffix.lower() in SUFFIXES)
    names = [file.as_posix() for file in files if not any(map(is_generated, file.parts))]
    if not names:
        raise UserError(f"there are no photos in {IMAGES} to look at: put them there, in a folder for each class")
    return [round(share * count) for count in np.bincount(read_layout(names, None).labels)]


def _batch_size(images: int) -> int:
    return next((size for size in (128, 64, 32) if images >= 20 * size), 16)


def _seconds(call: Callable[[], object], on: torch.device) -> float:
    """Return the seconds that a call takes on a device: the shortest of a few, since other programs may work too."""
    times = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        call()
        if on.type != "cpu":
            torch.accelerator.synchronize(on)
        times.append(time.perf_counter() - started)
    return min(times)
