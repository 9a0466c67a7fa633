"""The tutorials' four networks, for any image size, channel count and class count.

All were published with ReLU; `activation` makes another one. An activation that never falls comes after max-pooling
instead of before it: the same result to the bit for a quarter of the work. Every network maps float32 images
(N, C, H, W) to logits (N, K).
"""

from collections import OrderedDict

from torch import nn

from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.layers import Activation

# They never fall: the largest input gives the largest output, so max-pooling may come first. GELU falls below −0.75.
RISING = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)


def cifar_basic(image: ImageFormat, classes: int, dropout: float, activation: Activation) -> nn.Sequential:
    """Build three convolutions of 32, 64 and 64 channels and a hidden layer of 512."""
    stages = [_pooled(*channels, activation) for channels in ((image.channels, 32), (32, 64), (64, 64))]
    features, size = _features(image, stages)
    head = [nn.Linear(64 * size, 512), activation(), nn.Dropout(dropout), nn.Linear(512, classes)]
    return _network(features, head)


def fashion_net(image: ImageFormat, classes: int, dropout: float, activation: Activation) -> nn.Sequential:
    """Build two convolutions of 8 and 16 channels and hidden layers of 256, 128 and 64, dropout between them."""
    stages = [_pooled(*channels, activation) for channels in ((image.channels, 8), (8, 16))]
    features, size = _features(image, stages)
    head: list[nn.Module] = [nn.Linear(16 * size, 256), activation()]
    for inputs, outputs in ((256, 128), (128, 64)):
        head += [nn.Dropout(dropout), nn.Linear(inputs, outputs), activation()]
    return _network(features, [*head, nn.Dropout(dropout), nn.Linear(64, classes)])


def mnist_convnet(image: ImageFormat, classes: int, dropout: float, activation: Activation) -> nn.Sequential:
    """Build two convolutions of 4 and 8 channels with 5×5 kernels and a hidden layer of 512."""
    stages = [_pooled(*channels, activation, kernel=5) for channels in ((image.channels, 4), (4, 8))]
    features, size = _features(image, stages)
    head = [nn.Linear(8 * size, 512), activation(), nn.Dropout(dropout), nn.Linear(512, classes)]
    return _network(features, head)


def cifar_vgg(image: ImageFormat, classes: int, dropout: float, activation: Activation) -> nn.Sequential:
    """Build three pairs of convolutions, to 64, 128 and 256 channels, and hidden layers of 1024 and 512.

    The second pair is followed by channel dropout at half of `dropout`, as published (0.05 and 0.1).
    5,852,170 parameters for 3×32×32 images and 10 classes.
    """
    pairs = []
    for inputs, hidden, outputs in ((image.channels, 32, 64), (64, 128, 128), (128, 256, 256)):
        first = nn.Conv2d(inputs, hidden, 3, padding=1), nn.BatchNorm2d(hidden), activation()
        pairs.append(nn.Sequential(*first, *_pooled(hidden, outputs, activation)))
    pairs[1].append(nn.Dropout2d(dropout / 2))
    features, size = _features(image, pairs)
    head = [nn.Dropout(dropout), nn.Linear(256 * size, 1024), activation(), nn.Linear(1024, 512), activation()]
    return _network(features, [*head, nn.Dropout(dropout), nn.Linear(512, classes)])


def _network(features: nn.Sequential, classifier: list[nn.Module]) -> nn.Sequential:
    """Name the parts of a network as torchvision does."""
    parts = {"features": features, "flatten": nn.Flatten(), "classifier": nn.Sequential(*classifier)}
    return nn.Sequential(OrderedDict(parts))


def _pooled(inputs: int, outputs: int, activation: Activation, kernel: int = 3) -> nn.Sequential:
    """Make a convolution that keeps height and width, with activation and 2×2 max-pooling."""
    layers: list[nn.Module] = [activation(), nn.MaxPool2d(2)]
    if isinstance(layers[0], RISING):
        layers.reverse()
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), *layers)


def _features(image: ImageFormat, halvings: list[nn.Sequential]) -> tuple[nn.Sequential, int]:
    """Chain stages that each halve height and width; also return H·W of what they leave."""
    smallest = 2 ** len(halvings)
    if min(image.height, image.width) < smallest:
        raise UserError(
            f"images of {image.height}×{image.width} pixels are too small for this network: it needs "
            f"{smallest}×{smallest}; choose another model.name or set data.image_size"
        )
    return nn.Sequential(*halvings), (image.height // smallest) * (image.width // smallest)
