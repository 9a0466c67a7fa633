"""The weights of a whitening layer, computed from the training images before the first step."""

import torch
import torch.nn.functional as F

from src.compute.batches import Batches
from src.models.airbench import KERNEL, whitening_layer
from src.models.classifier import Classifier

PIXELS = 5_000 * 32 * 32  # of the images that the weights are computed from, at most
BATCH = 500  # images
EPSILON = 5e-4  # added to the variances, so that directions without signal are not blown up


@torch.no_grad()
def fit_whitening(classifier: Classifier, images: Batches) -> None:
    """Compute the whitening layer's weights from images on the classifier's device, if it has such a layer.

    Half of the filters are the eigenvectors of the second moments of all 2×2 patches, each divided by the square root
    of its eigenvalue, so that their outputs have the second moments of white noise; the other half are their negatives.
    T. Page, 2019 ("How to train your ResNet 8"); K. Jordan, 2024 (arXiv 2404.00498).
    """
    layer = whitening_layer(classifier.network)
    if layer is None:
        return
    height, width, _ = images.image_shape
    count = max(1, PIXELS // (height * width))
    chosen = torch.arange(0, len(images), -(-len(images) // count))
    size = layer.weight[0].numel()
    moments, patches = torch.zeros(size, size, dtype=torch.float64, device=images.device), 0
    for batch, _ in images.take(chosen, BATCH):
        unfolded = F.unfold(classifier.normalize(batch), KERNEL)  # (images, values of a patch, patches of an image)
        moments += (unfolded @ unfolded.mT).sum(0, dtype=torch.float64)
        patches += unfolded.shape[0] * unfolded.shape[2]
    variances, directions = torch.linalg.eigh(moments.cpu() / patches)
    filters = directions.T / (variances + EPSILON).sqrt()[:, None]
    layer.weight.copy_(torch.cat([filters, -filters]).view_as(layer.weight))
