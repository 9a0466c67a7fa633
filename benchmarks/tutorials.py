"""What the tutorials do: networks, transforms, optimisers and loops of the five systems in DESIGN's table.

As such tutorials are written: a PIL image and `torchvision.transforms` for every image, `DataLoader` with its own
collate, contiguous (N, C, H, W) float32, ReLU before pooling, `.item()` at every step, torch's defaults elsewhere.

Their faults are left out, since they change results and not times: `log_softmax` over the batch before a loss that
takes logits, a scheduler stepped before the first epoch, "best" weights kept without a copy, the test images read while
choosing, a loss averaged twice, all cats before all dogs.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn, optim
from torch.utils.data import Dataset
from torchvision import models, transforms

Loader = Iterable[tuple[Tensor, Tensor]]


class Images(Dataset[tuple[Tensor, int]]):
    """Transform each image of an array when it is asked for, as torchvision's data sets do."""

    def __init__(self, images: Any, labels: NDArray[np.int64], transform: Callable[[Any], Tensor]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def as_pil(image: NDArray[np.uint8]) -> Image.Image:
    """Make a PIL image of an array (H, W, C)."""
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def train_epoch(
    network: nn.Module, loader: Loader, criterion: nn.Module, optimizer: optim.Optimizer, device: torch.device
) -> float:
    """Train for an epoch; return the mean loss of a batch."""
    network.train()
    running_loss, batches = 0.0, 0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        outputs = network(images)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        batches += 1
    return running_loss / batches


def convolution(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    """Return a convolution that keeps the size, ReLU, and a pooling that halves it."""
    return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]


def pair(inputs: int, hidden: int, outputs: int) -> list[nn.Module]:
    """Return two convolutions, the first with batch norm, and a pooling that halves the size."""
    first = [nn.Conv2d(inputs, hidden, 3, padding=1), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)]
    return [*first, nn.Conv2d(hidden, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]


def cifar10_basic() -> nn.Module:
    return nn.Sequential(
        *convolution(3, 32), *convolution(32, 64), *convolution(64, 64),
        nn.Flatten(), nn.Linear(64 * 4 * 4, 512), nn.ReLU(), nn.Linear(512, 10),
    )  # fmt: skip


def fashion_mnist() -> nn.Module:
    return nn.Sequential(
        *convolution(1, 8), *convolution(8, 16), nn.Flatten(),
        nn.Linear(16 * 7 * 7, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10),
    )  # fmt: skip


def mnist() -> nn.Module:
    return nn.Sequential(
        *convolution(1, 4, kernel=5), *convolution(4, 8, kernel=5),
        nn.Flatten(), nn.Linear(8 * 7 * 7, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10),
    )  # fmt: skip


def dogs_vs_cats() -> nn.Module:
    network: nn.Module = models.resnet18()
    network.fc = nn.Linear(512, 2)
    return network


def cifar10_vgg() -> nn.Module:
    return nn.Sequential(
        *pair(3, 32, 64), *pair(64, 128, 128), nn.Dropout2d(0.05), *pair(128, 256, 256), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(4096, 1024), nn.ReLU(inplace=True), nn.Linear(1024, 512), nn.ReLU(inplace=True),
        nn.Dropout(0.1), nn.Linear(512, 10),
    )  # fmt: skip


class Tutorial(NamedTuple):
    """Hold what one tutorial does. augmentation: PIL transforms of training images; normalize: mean and std."""

    network: Callable[[], nn.Module]
    optimizer: Callable[[Iterable[nn.Parameter]], optim.Optimizer]
    augmentation: Sequence[Callable[[Any], Any]] = ()
    normalize: tuple[Sequence[float], Sequence[float]] | None = None

    def transform(self) -> Callable[[Any], Tensor]:
        """Return what makes a training image (H, W, C), uint8, a float32 tensor (C, H, W)."""
        steps: list[Callable[[Any], Any]] = [as_pil, *self.augmentation, transforms.ToTensor()]
        steps += [] if self.normalize is None else [transforms.Normalize(*self.normalize)]
        composed: Callable[[Any], Tensor] = transforms.Compose(steps)
        return composed


TUTORIALS = {
    "cifar10-basic": Tutorial(
        cifar10_basic, lambda weights: optim.Adam(weights, lr=1e-3, weight_decay=1e-2), normalize=([0.5] * 3, [0.5] * 3)
    ),
    "fashion-mnist": Tutorial(
        fashion_mnist,
        lambda weights: optim.SGD(weights, lr=1e-3),
        (transforms.RandomHorizontalFlip(), transforms.RandomRotation(12)),
        ([0.5], [0.5]),
    ),
    "mnist": Tutorial(mnist, lambda weights: optim.SGD(weights, lr=1e-3, momentum=0.9)),
    "cifar10-vgg": Tutorial(
        cifar10_vgg,
        lambda weights: optim.Adam(weights, lr=1e-4),
        (transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()),
        ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    ),
    "dogs-vs-cats": Tutorial(
        dogs_vs_cats,
        lambda weights: optim.SGD(weights, lr=1e-3, momentum=0.9),
        normalize=([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ),
}
