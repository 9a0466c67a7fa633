"""Suggest settings for the user's photos, by their number in each class and a few steps that this machine runs."""

import time
from collections.abc import Callable, Iterator

import torch

from src.compute import device
from src.core.errors import UserError
from src.data.prepared import read_dataset
from src.models.build import build
from src.params import Params
from src.training.losses import Target
from src.training.step import TrainStep

_STEPS = 4  # that are timed; the first prepares memory
_UNEVEN = 3  # times as many images in the largest class as in the smallest


def suggest(params: Params) -> Iterator[tuple[str, object, object, str]]:
    """Yield a dotted key, its value now, the one that it should have, and why.

    Times are of the network of these parameters with random pixels and weights, which take as long as others. Raises
    `UserError` where the photos are not prepared, or where the network is not a pretrained one.
    """
    dataset, train = read_dataset(), params.train
    if dataset.name != params.data.name:
        raise UserError(
            f"data/prepared holds {dataset.name}, params.yaml names {params.data.name}: run dvc repro split"
        )
    if params.model.weights == "none":
        raise UserError(f"{params.model.name} is not pretrained: python -m src.recipe own-images is for photos")
    counts = dataset.splits["train"].per_class.values()
    images, classes = sum(counts), len(counts)
    batch_size = next((size for size in (128, 64, 32) if images >= 20 * size), 16)
    settings = train.model_copy(update={"batch_size": batch_size})
    compute = device.prepare(settings, params.model.name)
    model = params.model.model_copy(update={"weights": "none", "freeze": False})
    classifier = compute.place(build(model, dataset.image, classes, dataset.mean, dataset.std))
    shape = dataset.image.height, dataset.image.width, dataset.image.channels
    pixels = torch.randint(256, (batch_size, *shape), dtype=torch.uint8).to(compute.device)
    labels = (torch.arange(batch_size) % classes).to(compute.device)
    with torch.no_grad():
        forward = _seconds(lambda: classifier.eval()(pixels), compute.device) / batch_size
    step = TrainStep(classifier.train(), settings, labels, compute)
    learned = _seconds(lambda: step.step(pixels, Target(labels), 1e-9, 1), compute.device) / batch_size

    seen = images + dataset.splits["validation"].count
    yield (
        "model.freeze",
        params.model.freeze,
        True,
        f"features first: {seen * forward:.0f} s for {seen:,} photos, then the last layer alone in seconds",
    )
    yield (
        "train.epochs",
        train.epochs,
        train.epochs if params.model.freeze else 20,
        f"for the last layer alone; to fine-tune (freeze false) start with 3, of {images * learned:.0f} s each",
    )
    yield "train.batch_size", train.batch_size, batch_size, f"{images:,} images train: 20 steps an epoch or more"
    if max(counts) >= _UNEVEN * min(counts):
        why = f"{max(counts):,} images of the largest class, {min(counts):,} of the least"
        yield "train.sampling", train.sampling, "balanced", why


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
