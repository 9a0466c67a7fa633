"""A first convolution that makes neighbouring pixels uncorrelated: fixed weights, computed from the training images."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from src.models.classifier import Classifier

WHITENING = "whitening"  # the name of the layer in its network, of which it is the first
KERNEL = 2
PIXELS = 5_000 * 32 * 32  # of the images that the weights are computed from, at most
EPSILON = 5e-4  # added to the variances, so that directions without signal are not blown up


def whitening(channels: int) -> nn.Conv2d:
    """Return the layer, (N, C, H, W) to (N, 8·C, H − 1, W − 1), its weights random until `fit_whitening`.

    The weights get no gradient, the bias does.
    """
    layer = nn.Conv2d(channels, 2 * channels * KERNEL**2, KERNEL)
    layer.weight.requires_grad_(False)
    return layer


def whitening_layer(network: nn.Module) -> nn.Conv2d | None:
    """Return the network's whitening layer, None where it has none."""
    for name, layer in network.named_modules():
        if name.rpartition(".")[2] == WHITENING and isinstance(layer, nn.Conv2d):
            return layer
    return None


def fit_whitening(classifier: Classifier, images: NDArray[np.uint8]) -> None:
    """Compute the weights of the whitening layer from training images (N, H, W, C), where there is such a layer.

    Half of the filters are the eigenvectors of the second moments of all 2×2 patches, each divided by the square root
    of its eigenvalue, so that their outputs have the second moments of white noise; the other half are their negatives.
    T. Page, 2019 ("How to train your ResNet 8"); K. Jordan, 2024 (arXiv 2404.00498).
    """
    layer = whitening_layer(classifier.network)
    if layer is None:
        return
    count = max(1, PIXELS // (images.shape[1] * images.shape[2]))
    chosen = torch.from_numpy(images[:: -(-len(images) // count)].copy())
    moments = torch.zeros(layer.weight[0].numel(), layer.weight[0].numel(), dtype=torch.float64)
    patches = 0
    for batch in torch.split(chosen, 500):
        unfolded = F.unfold(classifier.normalize(batch), KERNEL).transpose(0, 1).flatten(1).double()
        moments += unfolded @ unfolded.T
        patches += unfolded.shape[1]
    variances, directions = torch.linalg.eigh(moments / patches)
    filters = directions.T / (variances + EPSILON).sqrt()[:, None]
    with torch.no_grad():
        layer.weight.copy_(torch.cat([filters, -filters]).view_as(layer.weight))
