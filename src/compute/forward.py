"""Logits of a whole array of images: the one forward pass that training, evaluation and prediction share."""

import torch
from torch import Tensor

from src.compute.batches import Batches
from src.compute.device import Compute
from src.models.classifier import Classifier

# On a CPU a batch of 128 stays in the cache: 1.5 times faster than 1,024 with cifar_vgg.
BATCH_SIZE = 128


@torch.no_grad()
def logits(classifier: Classifier, images: Batches, compute: Compute) -> Tensor:
    """float32 logits (N, K) on the device, in the order of the images; leaves the classifier in evaluation mode."""
    classifier.eval()
    with compute.autocasting():
        batches = [classifier(batch).float() for batch, _ in images.take(torch.arange(len(images)), BATCH_SIZE)]
    return torch.cat(batches) if batches else torch.empty(0, 0, device=compute.device)
