"""From stored pixels to class probabilities: what is trained, saved, logged and served as one module."""

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.models.layers import is_frozen


class Resize(nn.Module):
    """Bring images (N, C, H, W), in [0, 1], to another height and width, "bilinear" or "bicubic" and with antialiasing.

    Computed as products with two matrices, whose gradient is deterministic on every device.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, before: tuple[int, int], after: tuple[int, int], interpolation: str) -> None:
        super().__init__()
        for name, old, new in zip(("rows", "columns"), before, after, strict=True):
            unit = torch.eye(old)[None, None]
            matrix = F.interpolate(unit, (new, old), mode=interpolation, antialias=True)[0, 0]
            self.register_buffer(name, matrix, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        # Bicubic overshoots at edges, which Pillow cuts off after either direction.
        across = (images @ self.columns.T).clamp(0, 1)
        resized = (self.rows @ across).clamp(0, 1)
        return resized.contiguous(memory_format=torch.channels_last)


class Normalize(nn.Module):
    """Turn uint8 images (N, H, W, C) into float32 (N, C, H, W): scaled to [0, 1], then (x − mean) / std by channel.

    resize: None to keep the size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], resize: Resize | None = None) -> None:
        super().__init__()
        self.resize = resize
        # Not stored among the weights: the model's file has them as text, where a reader finds them.
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 255
        if self.resize is not None:
            pixels = self.resize(pixels)
        return (pixels - self.mean) / self.std


class Classifier(nn.Module):
    """Turn uint8 images (N, H, W, C) into logits (N, K)."""

    def __init__(self, network: nn.Module, normalize: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.normalize(images))
        return logits

    def train(self, mode: bool = True) -> Self:
        """Set the mode as torch does, but keep a frozen batch norm in evaluation: its statistics fit its weights."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, _BatchNorm) and is_frozen(layer):
                layer.eval()
        return self


class Probabilities(nn.Module):
    """Turn uint8 images (N, H, W, C) into class probabilities (N, K), as exported and served models do.

    temperature: divides the logits, so that confidence agrees with accuracy.
    """

    def __init__(self, classifier: Classifier, temperature: float = 1.0) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(images)
        return (logits.float() / self.temperature).softmax(dim=1)
