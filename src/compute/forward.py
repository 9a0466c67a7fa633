"""Logits of stored images: the one forward pass that training, evaluation and prediction share."""

import torch
from torch import Tensor

from src.compute.batches import Batches
from src.compute.device import Compute
from src.models.classifier import Classifier


@torch.no_grad()
def logits(classifier: Classifier, images: Batches, compute: Compute, order: Tensor | None = None) -> Tensor:
    """float32 logits (N, K) on the device, of all images or of those with the indices `order` (N,), in that order.

    Leaves the classifier in evaluation mode.
    """
    classifier.eval()
    order = torch.arange(len(images)) if order is None else order
    size = compute.evaluation_batch(images.image_shape)
    with compute.autocasting():
        batches = [classifier(batch).float() for batch, _ in images.take(order, size)]
    return torch.cat(batches) if batches else torch.empty(0, 0, device=compute.device)
