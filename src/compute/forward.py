"""Logits of stored images: the forward pass that training and evaluation share."""

import statistics
import time

import torch
from torch import Tensor

from src.compute.batches import Batches
from src.compute.device import evaluation_batch
from src.models.classifier import Classifier

_PASSES = 50  # of one image, whose median is the latency


@torch.no_grad()
def logits(classifier: Classifier, images: Batches, order: Tensor | None = None) -> Tensor:
    """Return float32 logits (N, K) on the device, of all images or of those with the indices `order` (N,), in order.

    Computed in float32 whatever precision training has, so that reported numbers are those that `src.predict`, an
    exported graph and a server give. Leaves the classifier in evaluation mode.
    """
    classifier.eval()
    order = torch.arange(len(images)) if order is None else order
    size = evaluation_batch(images.device, images.image_shape)
    batches = [classifier(batch) for batch, _ in images.take(order, size)]
    return torch.cat(batches) if batches else torch.empty(0, 0, device=images.device)


def latency(classifier: Classifier, images: Batches) -> float | None:
    """Return how many milliseconds one image takes, as the median of many passes; None without images."""
    if not len(images):
        return None
    took = []
    for _ in range(_PASSES):
        started = time.perf_counter()
        logits(classifier, images, torch.arange(1)).cpu()  # waits for the device
        took.append(1000 * (time.perf_counter() - started))
    return statistics.median(took)
