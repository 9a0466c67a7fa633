"""The network of airbench, which trains to 94 % on CIFAR-10 within seconds on a GPU.

Its first convolution is a whitening layer, which makes neighbouring pixels uncorrelated: its weights are computed from
the training images and stay fixed.
"""

from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.classifier import Classifier
from src.models.layers import Activation

WHITENING = "whitening"  # the name of the whitening layer in the network
KERNEL = 2
PIXELS = 5_000 * 32 * 32  # of the images that its weights are computed from, at most
EPSILON = 5e-4  # added to the variances, so that directions without signal are not blown up
WIDTHS = (64, 256, 256)
SMALLEST = 9  # pixels of height and width: one is left after whitening and three halvings


class Scale(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor


def airbench(image: ImageFormat, classes: int, dropout: float, activation: Activation) -> nn.Sequential:
    """Build a whitening layer, three pairs of convolutions and a linear layer: (N, C, H, W) to logits (N, K).

    K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 (arXiv 2404.00498), in the version that Muon
    trains (github.com/KellerJordan/cifar10-airbench, `airbench94_muon.py`). Raises `UserError` where images are smaller
    than 9×9 pixels.
    """
    if min(image.height, image.width) < SMALLEST:
        raise UserError(
            f"images of {image.height}×{image.width} pixels are too small for this network: it needs "
            f"{SMALLEST}×{SMALLEST}; choose another model.name or set data.image_size"
        )
    first = whitening(image.channels)
    widths = (first.out_channels, *WIDTHS)
    pairs = [_pair(inputs, outputs, activation) for inputs, outputs in zip(widths, WIDTHS, strict=False)]
    # All that is left of the image. An adaptive pooling of the same window has no deterministic gradient on CUDA.
    pooling = nn.MaxPool2d(((image.height - 1) // 8, (image.width - 1) // 8))
    head = nn.Linear(WIDTHS[-1], classes, bias=False)
    head.weight.data /= head.weight.data.std()
    parts = {
        WHITENING: first,
        "activation": activation(),
        "features": nn.Sequential(*pairs, pooling),
        "flatten": nn.Flatten(),
        "classifier": nn.Sequential(nn.Dropout(dropout), head, Scale(1 / WIDTHS[-1])),
    }
    return nn.Sequential(OrderedDict(parts))


def _pair(inputs: int, outputs: int, activation: Activation) -> nn.Sequential:
    """Build two convolutions with batch norm, the first one halving height and width."""
    first = [_convolution(inputs, outputs), nn.MaxPool2d(2), _batch_norm(outputs), activation()]
    return nn.Sequential(*first, _convolution(outputs, outputs), _batch_norm(outputs), activation())


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Build a convolution whose first output channels are at first those of the input, unchanged."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[:inputs])
    return layer


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    """Build a batch norm whose weight stays 1, and whose statistics follow the batches of a short training fast."""
    layer = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    layer.weight.requires_grad_(False)
    return layer


def whitening(channels: int) -> nn.Conv2d:
    """Build the whitening layer, (N, C, H, W) to (N, 8·C, H − 1, W − 1), with random weights until `fit_whitening`.

    The weights are not trained, the bias is.
    """
    layer = nn.Conv2d(channels, 2 * channels * KERNEL**2, KERNEL)
    layer.weight.requires_grad_(False)
    return layer


def whitening_layer(network: nn.Module) -> nn.Conv2d | None:
    """Return the network's whitening layer; None if it has none."""
    for name, layer in network.named_modules():
        if name.rpartition(".")[2] == WHITENING and isinstance(layer, nn.Conv2d):
            return layer
    return None


def fit_whitening(classifier: Classifier, images: NDArray[np.uint8]) -> None:
    """Compute the weights of the whitening layer from training images (N, H, W, C), if there is such a layer.

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
