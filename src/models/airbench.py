"""The network of airbench, which trains to 94 % on CIFAR-10 within seconds on a GPU.

Its first convolution is a whitening layer, which makes neighbouring pixels uncorrelated: its weights are computed from
the training images (`src.training.whitening`) and stay fixed.
"""

from collections import OrderedDict

from torch import Tensor, nn

from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.layers import Activation

WHITENING = "whitening"  # the name of the whitening layer in the network
KERNEL = 2
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
