"""The tutorials' four networks, for any image size, channel count and class count.

ReLU stands after max-pooling wherever the two meet: they commute, so the result is the same to the bit and a quarter of
the work. Every network maps float32 images (N, C, H, W) to logits (N, K).
"""

from collections.abc import Callable

from torch import nn

from src.data.prepared import ImageFormat
from src.faults import Fault


def cifar_basic(image: ImageFormat, classes: int, dropout: float) -> nn.Sequential:
    """Three convolutions of 32, 64 and 64 channels and a hidden layer of 512."""
    features, size = _features(image, [_pooled(image.channels, 32), _pooled(32, 64), _pooled(64, 64)])
    head = [nn.Linear(64 * size, 512), nn.ReLU(), nn.Dropout(dropout), nn.Linear(512, classes)]
    return nn.Sequential(features, nn.Flatten(), *head)


def fashion_net(image: ImageFormat, classes: int, dropout: float) -> nn.Sequential:
    """Two convolutions of 8 and 16 channels and hidden layers of 256, 128 and 64, dropout between them."""
    features, size = _features(image, [_pooled(image.channels, 8), _pooled(8, 16)])
    head: list[nn.Module] = [nn.Linear(16 * size, 256), nn.ReLU()]
    for inputs, outputs in ((256, 128), (128, 64)):
        head += [nn.Dropout(dropout), nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(features, nn.Flatten(), *head, nn.Dropout(dropout), nn.Linear(64, classes))


def mnist_convnet(image: ImageFormat, classes: int, dropout: float) -> nn.Sequential:
    """Two convolutions of 4 and 8 channels with 5×5 kernels and a hidden layer of 512."""
    features, size = _features(image, [_pooled(image.channels, 4, 5), _pooled(4, 8, 5)])
    head = [nn.Linear(8 * size, 512), nn.ReLU(), nn.Dropout(dropout), nn.Linear(512, classes)]
    return nn.Sequential(features, nn.Flatten(), *head)


def cifar_vgg(image: ImageFormat, classes: int, dropout: float) -> nn.Sequential:
    """Three pairs of convolutions, to 64, 128 and 256 channels, and hidden layers of 1024 and 512.

    The second pair is followed by channel dropout at half of `dropout`, as published (0.05 and 0.1).
    5,852,170 parameters for 3×32×32 images and 10 classes.
    """
    pairs = [_pair(image.channels, 32, 64), _pair(64, 128, 128), _pair(128, 256, 256)]
    pairs[1].append(nn.Dropout2d(dropout / 2))
    features, size = _features(image, pairs)
    head = [nn.Dropout(dropout), nn.Linear(256 * size, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU()]
    return nn.Sequential(features, nn.Flatten(), *head, nn.Dropout(dropout), nn.Linear(512, classes))


NETWORKS: dict[str, Callable[[ImageFormat, int, float], nn.Sequential]] = {
    network.__name__: network for network in (cifar_basic, fashion_net, mnist_convnet, cifar_vgg)
}


def _pooled(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """A convolution that keeps height and width, then 2×2 max-pooling and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.MaxPool2d(2), nn.ReLU())


def _pair(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    first = nn.Sequential(nn.Conv2d(inputs, hidden, 3, padding=1), nn.BatchNorm2d(hidden), nn.ReLU())
    return nn.Sequential(*first, *_pooled(hidden, outputs))


def _features(image: ImageFormat, halvings: list[nn.Sequential]) -> tuple[nn.Sequential, int]:
    """The stages in order and the number of positions H·W they leave. Every stage halves height and width."""
    smallest = 2 ** len(halvings)
    if min(image.height, image.width) < smallest:
        raise Fault(
            f"images of {image.height}×{image.width} pixels are too small for this network: it needs "
            f"{smallest}×{smallest}; choose another model.name or set data.image_size"
        )
    return nn.Sequential(*halvings), (image.height // smallest) * (image.width // smallest)
