"""Test-time augmentation: the class probabilities of an image are the mean over altered copies of it."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from src import params
from src.compute.batches import Batches
from src.compute.device import evaluation_batch, full_precision
from src.evaluation.corruptions import DIRECTIONS, shift
from src.evaluation.metrics import measure
from src.models.classifier import Classifier


def tta_metrics(classifier: Classifier, images: Batches, config: params.Evaluate) -> dict[str, float | int]:
    """Return `tta_accuracy` and `tta_loss` with their intervals, computed as in `measure`.

    Return nothing if it is switched off or there are no images.
    """
    if config.tta == "none" or not len(images):
        return {}
    scores = log_mean_probabilities(classifier, images, config).cpu().numpy()
    result = measure(scores, images.labels.cpu().numpy())
    return {f"tta_{key}": value for key, value in result.items() if key.startswith(("accuracy", "loss"))}


@torch.no_grad()
@full_precision()
def log_mean_probabilities(
    classifier: Classifier, images: Batches, config: params.Evaluate, batch_size: int | None = None
) -> Tensor:
    """Return the logarithm of the copies' mean class probabilities: float32 (N, K), in the order of the images.

    Summed as logarithms, so that no probability becomes 0. batch_size: None for the device's own.
    """
    classifier.eval()
    batch_size = batch_size or evaluation_batch(images.device, images.image_shape)
    batches = []
    for batch, _ in images.take(torch.arange(len(images)), batch_size):
        scores = [classifier(copy).log_softmax(dim=1) for copy in copies(batch, config)]
        batches.append(torch.stack(scores).logsumexp(dim=0) - math.log(len(scores)))
    return torch.cat(batches)


def copies(images: Tensor, config: params.Evaluate) -> Iterator[Tensor]:
    """Yield the images (N, H, W, C) and their mirror images; with `flip_shift` 2 · (1 + 4 · `tta_shift`) copies.

    Those are both of them as they are, and moved by 1 to `tta_shift` pixels in each direction.
    """
    pixels = config.tta_shift if config.tta == "flip_shift" else 0
    for unmoved in (images, images.flip(2)):
        yield unmoved
        for direction in DIRECTIONS:
            for step in range(1, pixels + 1):
                yield shift(unmoved, direction, step)
