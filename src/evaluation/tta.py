"""Test-time augmentation: average the class probabilities of an image over altered copies of it."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from src.compute.batches import Batches
from src.compute.device import Compute, evaluation_batch
from src.evaluation.logits import log_probabilities
from src.evaluation.metrics import of_probabilities, share_of
from src.models.classifier import Classifier
from src.stats.groups import Groups


def tta_metrics(
    classifier: Classifier, images: Batches, tta: str, compute: Compute, groups: Groups = None
) -> dict[str, float | int]:
    """Return `tta_accuracy` and `tta_loss` with their intervals, which are those of `measure`.

    tta: `evaluate.tta`; groups: as of `measure`. Return nothing if tta is none, or without images.
    """
    if tta == "none" or not len(images):
        return {}
    scores = log_probabilities(log_mean_probabilities(classifier, images, tta, compute).cpu().numpy())
    labels = images.labels.cpu().numpy()
    result = share_of("accuracy", scores.argmax(axis=1) == labels, groups) | of_probabilities(scores, labels, groups)
    return {f"tta_{key}": value for key, value in result.items() if key.startswith(("accuracy", "loss"))}


@torch.no_grad()
def log_mean_probabilities(classifier: Classifier, images: Batches, tta: str, compute: Compute) -> Tensor:
    """Return the logarithm of the copies' weighted mean class probabilities: float32 (N, K), in the images' order.

    They are summed as logarithms, so that no probability becomes 0. The passes have the precision of training, since
    there are many: no other number is measured so.
    """
    classifier.eval()
    batch_size = evaluation_batch(images.device, images.image_shape)
    batches = []
    for batch, _ in images.take(torch.arange(len(images)), batch_size):
        with compute.autocasting():
            outputs = [(classifier(copy), weight) for copy, weight in copies(batch, tta)]
        scores = [logits.float().log_softmax(dim=1) + math.log(weight) for logits, weight in outputs]
        batches.append(torch.stack(scores).logsumexp(dim=0))
    return torch.cat(batches)


def copies(images: Tensor, tta: str) -> Iterator[tuple[Tensor, float]]:
    """Yield the images (N, H, W, C) and their mirror images, and of `flip_diagonal` moved copies, each with its weight.

    Those are moved by a pixel down right and up left and filled with the image mirrored at its edge. Each of the 2
    unmoved copies weighs as much as 2 of the 4 moved ones (K. Jordan, 2024, arXiv 2404.00498).
    """
    for unmoved in (images, images.flip(2)):
        if tta == "flip":
            yield unmoved, 1 / 2
        else:
            framed = F.pad(unmoved.permute(0, 3, 1, 2).float(), (1, 1, 1, 1), mode="reflect").permute(0, 2, 3, 1)
            yield from ((unmoved, 1 / 4), (framed[:, :-2, :-2], 1 / 8), (framed[:, 2:, 2:], 1 / 8))
