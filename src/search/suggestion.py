"""Suggest settings for the user's photos, by the number in each class and by timing a few steps on this machine."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from src.compute import device
from src.compute.device import Compute
from src.core.errors import UserError
from src.data.prepared import ImageFormat, read_dataset
from src.models.build import build
from src.models.classifier import Classifier
from src.models.pretrained import timm_config
from src.params import Params
from src.params.networks import TIMM
from src.training.losses import Target
from src.training.step import TrainStep

_STEPS, _LONG = 3, 2.0  # timed steps, or fewer if they take more seconds than this; the first prepares memory
_PHOTOS = 16  # in a timed step
_UNEVEN = 3  # classes are balanced if the largest has this many times the images of the smallest
_LARGER = ("convnext_tiny", "convnext_base")  # networks of torchvision to try


def suggest(params: Params) -> Iterator[tuple[str, object, object, str]]:
    """Yield a dotted key, its present value, the suggested one, and why.

    Networks are timed with random pixels and weights. Raises `UserError` if the photos are not prepared, or if the
    network is not a pretrained one.
    """
    dataset, model, train = read_dataset(), params.model, params.train
    if dataset.name != params.data.name:
        raise UserError(
            f"data/prepared holds {dataset.name}, params.yaml names {params.data.name}: run dvc repro split"
        )
    if model.weights == "none":
        raise UserError(f"{model.name} is not pretrained: python -m src.recipe own-images is for photos")
    counts = dataset.splits["train"].per_class.values()
    images, classes = sum(counts), len(counts)
    seen = images + dataset.splits["validation"].count
    size = timm_config(model.name).input_size[1] if model.name.startswith(TIMM) else _published(model.name)[0]

    classifier, compute, pixels = _untrained(params, model.name, size, classes)
    features = seen * _forward(classifier, compute, pixels)
    labels = (torch.arange(_PHOTOS) % classes).to(compute.device)
    step = TrainStep(classifier.train(), train, labels, compute)
    epoch = images * _seconds(lambda: step.step(pixels, Target(labels), 1e-9, 1), compute.device) / _PHOTOS
    larger = []
    for name in _LARGER:
        side, accuracy = _published(name)
        seconds = seen * _forward(*_untrained(params, name, side, classes))
        larger.append(f"{name} ({accuracy:.1f} % on ImageNet) in {seconds:.0f} s")

    yield "data.image_size", params.data.image_size, size, f"what {model.name} was pretrained with"
    yield (
        "model.freeze",
        model.freeze,
        True,
        f"features first: {features:.0f} s for {seen:,} photos, then the last layer alone in seconds",
    )
    yield (
        "train.epochs",
        train.epochs,
        train.epochs if model.freeze is True else 20,
        f"for the last layer alone; to fine-tune (freeze: batch_norm) start with 3, of {epoch:.0f} s each",
    )
    if max(counts) >= _UNEVEN * min(counts):
        why = f"{max(counts):,} images of the largest class, {min(counts):,} of the least"
        yield "train.sampling", train.sampling, "balanced", why
    yield "model.name", model.name, model.name, f"others to try, with model.normalize imagenet: {'; '.join(larger)}"


def _published(name: str) -> tuple[int, float]:
    """Return the image size and the top-1 accuracy on ImageNet, in percent, of torchvision's weights of a network."""
    weights = get_model_weights(name).DEFAULT
    return weights.transforms().crop_size[0], weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]


def _untrained(params: Params, name: str, size: int, classes: int) -> tuple[Classifier, Compute, Tensor]:
    """Return the network with random weights on the parameters' device, and photos (N, H, W, 3) of noise."""
    compute = device.prepare(params.train, name)
    model = params.model.model_copy(update={"name": name, "weights": "none", "freeze": False, "normalize": "half"})
    image = ImageFormat(height=size, width=size, channels=3, resize="crop")
    classifier = compute.place(build(model, image, classes, [], []))
    return classifier, compute, torch.randint(256, (_PHOTOS, size, size, 3), dtype=torch.uint8).to(compute.device)


def _forward(classifier: Classifier, compute: Compute, pixels: Tensor) -> float:
    """Return the seconds of a forward pass for each photo."""
    with torch.no_grad():
        return _seconds(lambda: classifier.eval()(pixels), compute.device) / len(pixels)


def _seconds(call: Callable[[], object], on: torch.device) -> float:
    """Return the seconds that a call takes on a device: the least of a few, since other programs may run too."""
    times: list[float] = []
    while len(times) < _STEPS and sum(times) < _LONG:
        started = time.perf_counter()
        call()
        if on.type != "cpu":
            torch.accelerator.synchronize(on)
        times.append(time.perf_counter() - started)
    return min(times)
