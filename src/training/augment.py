"""Augmentation of whole batches on the device, with an independent draw for every image."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from src import params


@dataclass(frozen=True)
class Draws:
    """What chance decided for N images. Drawn on the CPU, so that every device sees the same."""

    flip: Tensor  # bool (N,)
    shift: Tensor  # int64 (N, 2): pixels down and right
    angle: Tensor  # float32 (N,): radians, counter-clockwise
    scale: Tensor  # float32 (N,): magnification

    def to(self, device: torch.device) -> "Draws":
        return Draws(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))

    def split(self, batch_size: int) -> list["Draws"]:
        """The same draws in batches."""
        columns = (getattr(self, name).split(batch_size) for name in self.__dataclass_fields__)
        return [Draws(*batch) for batch in zip(*columns, strict=True)]


def draw(augment: params.Augment, count: int, generator: Generator) -> Draws:
    """Draws for `count` images, each uniform within the bounds of the `augment` section."""
    uniform = torch.rand(2, count, generator=generator) * 2 - 1
    return Draws(
        flip=(torch.rand(count, generator=generator) < 0.5) & augment.flip,
        shift=torch.randint(-augment.crop, augment.crop + 1, (count, 2), generator=generator),
        angle=uniform[0] * math.radians(augment.rotate),
        scale=1 + uniform[1] * augment.scale,
    )


def apply(augment: params.Augment, images: Tensor, draws: Draws) -> Tensor:
    """uint8 images (N, H, W, C) → the same shape in 0…255, as uint8, or float32 where pixels had to be interpolated.

    What comes in from outside the image is 0.
    """
    if augment.flip or augment.crop:
        images = _flip_and_shift(images, draws, augment.crop)
    if augment.rotate or augment.scale:
        images = _rotate_and_scale(images, draws)
    return images


def _flip_and_shift(images: Tensor, draws: Draws, padding: int) -> Tensor:
    """One gather from the padded batch: a pixel's row and column are computed, never interpolated."""
    count, height, width, _ = images.shape
    device = images.device
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    rows = torch.arange(height, device=device) - draws.shift[:, :1]
    columns = torch.arange(width, device=device) - draws.shift[:, 1:]
    columns = torch.where(draws.flip[:, None], width - 1 - columns, columns)
    image = torch.arange(count, device=device)[:, None, None]
    return padded[image, rows[:, :, None] + padding, columns[:, None, :] + padding]


def _rotate_and_scale(images: Tensor, draws: Draws) -> Tensor:
    """Bilinear, around the centre; the grid is in units of half the height and half the width."""
    _, height, width, _ = images.shape
    cos, sin = draws.angle.cos() / draws.scale, draws.angle.sin() / draws.scale
    zero = torch.zeros_like(cos)
    matrix = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], dim=1).view(-1, 2, 3)
    pixels = images.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False).permute(0, 2, 3, 1)
