"""What the tutorials do, told again: networks, transforms, optimisers and loops of the five systems in DESIGN's table.

As such tutorials are written: a PIL image and `torchvision.transforms` for every image, `DataLoader` with its own
collate, contiguous (N, C, H, W) float32, ReLU before pooling, `.item()` at every step, torch's defaults elsewhere. What
the table does not say is taken from how tutorials of this kind look: the accuracy on held-out images once an epoch
(`mnist`: the error rate every 100 batches, as it says), no second pass over the training images.

Their faults that the design page lists (`log_softmax` over the batch, a scheduler stepped too early, weights kept
without a copy) change no result here and are left out.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
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
    """Arrays (N, H, W, C) and labels, each image made a PIL image and transformed when it is asked for, as
    `torchvision.datasets` does."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Callable[[Any], Tensor]
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        return self.transform(Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)), int(self.labels[index])


class Photos(Dataset[tuple[Tensor, int]]):
    """Image files and labels, each file decoded and transformed when it is asked for."""

    def __init__(self, files: Sequence[Path], labels: NDArray[np.int64], transform: Callable[[Any], Tensor]) -> None:
        self.files, self.labels, self.transform = files, labels, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), int(self.labels[index])


def train_epoch(
    network: nn.Module, loader: Loader, criterion: nn.Module, optimizer: optim.Optimizer, device: torch.device
) -> float:
    """The loop of all but `dogs-vs-cats`; the mean loss of a batch."""
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


def train_phase(
    network: nn.Module, loader: Loader, criterion: nn.Module, optimizer: optim.Optimizer, device: torch.device
) -> float:
    """The loop of `dogs-vs-cats`, in the form of torch's tutorial on transfer learning; the mean loss of an image."""
    network.train()
    running_loss, running_corrects, seen = 0.0, torch.zeros((), dtype=torch.int64, device=device), 0
    for inputs, labels in loader:
        inputs, labels = inputs.to(device), labels.to(device)
        optimizer.zero_grad()
        with torch.set_grad_enabled(True):
            outputs = network(inputs)
            _, predicted = torch.max(outputs, 1)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
        running_loss += loss.item() * inputs.size(0)
        running_corrects += torch.sum(predicted == labels)
        seen += inputs.size(0)
    return running_loss / seen


def evaluate(network: nn.Module, loader: Loader, criterion: nn.Module, device: torch.device) -> tuple[float, float]:
    """Loss and accuracy of held-out images."""
    network.eval()
    loss, correct, seen = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            outputs = network(images)
            loss += criterion(outputs, labels).item() * labels.size(0)
            correct += (outputs.argmax(1) == labels).sum().item()
            seen += labels.size(0)
    return loss / seen, correct / seen


def cifar10_basic() -> nn.Module:
    return nn.Sequential(
        *_convolution(3, 32), *_convolution(32, 64), *_convolution(64, 64),
        nn.Flatten(), nn.Linear(64 * 4 * 4, 512), nn.ReLU(), nn.Linear(512, 10),
    )  # fmt: skip


def fashion_mnist() -> nn.Module:
    return nn.Sequential(
        *_convolution(1, 8), *_convolution(8, 16), nn.Flatten(),
        nn.Linear(16 * 7 * 7, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10),
    )  # fmt: skip


def mnist() -> nn.Module:
    return nn.Sequential(
        *_convolution(1, 4, kernel=5), *_convolution(4, 8, kernel=5),
        nn.Flatten(), nn.Linear(8 * 7 * 7, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10),
    )  # fmt: skip


def dogs_vs_cats() -> nn.Module:
    network: nn.Module = models.resnet18()
    network.fc = nn.Linear(512, 2)
    return network


def cifar10_vgg() -> nn.Module:
    return nn.Sequential(
        *_pair(3, 32, 64), *_pair(64, 128, 128), nn.Dropout2d(0.05), *_pair(128, 256, 256), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(4096, 1024), nn.ReLU(inplace=True), nn.Linear(1024, 512), nn.ReLU(inplace=True),
        nn.Dropout(0.1), nn.Linear(512, 10),
    )  # fmt: skip


def _convolution(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]


def _pair(inputs: int, hidden: int, outputs: int) -> list[nn.Module]:
    first = [nn.Conv2d(inputs, hidden, 3, padding=1), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)]
    return [*first, nn.Conv2d(hidden, outputs, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]


class Tutorial(NamedTuple):
    """augmentation: PIL transforms, of training images alone. every: batches between two evaluations; 0: one at the
    end of an epoch."""

    network: Callable[[], nn.Module]
    optimizer: Callable[[Iterable[nn.Parameter]], optim.Optimizer]
    augmentation: Sequence[Callable[[Any], Any]]
    normalize: tuple[Sequence[float], Sequence[float]] | None
    epoch: Callable[..., float] = train_epoch
    every: int = 0

    def transform(self, size: int, *, training: bool) -> Callable[[Any], Tensor]:
        """From a PIL image to a float32 tensor (C, H, W); photos of other sizes are squashed to `size`."""
        steps: list[Callable[[Any], Any]] = [transforms.Resize((size, size))] if self.epoch is train_phase else []
        steps += [*(self.augmentation if training else ()), transforms.ToTensor()]
        steps += [] if self.normalize is None else [transforms.Normalize(*self.normalize)]
        composed: Callable[[Any], Tensor] = transforms.Compose(steps)
        return composed


TUTORIALS = {
    "cifar10-basic": Tutorial(
        cifar10_basic,
        lambda weights: optim.Adam(weights, lr=1e-3, weight_decay=1e-2),
        (),
        ([0.5] * 3, [0.5] * 3),
    ),
    "fashion-mnist": Tutorial(
        fashion_mnist,
        lambda weights: optim.SGD(weights, lr=1e-3),
        (transforms.RandomHorizontalFlip(), transforms.RandomRotation(12)),
        ([0.5], [0.5]),
    ),
    "mnist": Tutorial(
        mnist,
        lambda weights: optim.SGD(weights, lr=1e-3, momentum=0.9),
        (),
        None,
        every=100,
    ),
    "cifar10-vgg": Tutorial(
        cifar10_vgg,
        lambda weights: optim.Adam(weights, lr=1e-4),
        (transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()),
        ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    ),
    "dogs-vs-cats": Tutorial(
        dogs_vs_cats,
        lambda weights: optim.SGD(weights, lr=1e-3, momentum=0.9),
        (),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        train_phase,
    ),
}
