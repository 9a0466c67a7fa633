"""Noise of each pixel, as a hash of a key drawn for the image and the number of the pixel.

It is the same in every batch and on every device, and no numbers are stored for all pixels of an epoch.
"""

import math

import torch
from torch import Generator, Tensor

from src import params


def draw_levels(augment: params.Augment, count: int, generator: Generator) -> Tensor:
    """Draw the standard deviation in pixel values, and the share of black and white pixels: float32 (N, 2)."""
    return torch.rand(count, 2, generator=generator) * torch.tensor([255 * augment.noise, augment.salt_pepper])


def draw_keys(count: int, generator: Generator) -> Tensor:
    """Draw int32 keys (N,), uniformly."""
    return torch.randint(-(2**31), 2**31, (count,), generator=generator).int()


def add(augment: params.Augment, pixels: Tensor, levels: Tensor, keys: Tensor) -> Tensor:
    """Add Gaussian noise to every channel, then salt and pepper to whole pixels: float32 (N, C, H, W) in 0…255."""
    _, channels, height, width = pixels.shape
    size = channels * height * width
    if augment.noise:
        noise = gaussian(keys, size).mul_(levels[:, :1]).view_as(pixels)
        pixels = noise.add_(pixels).clamp_(0, 255)
    if augment.salt_pepper:
        chance = uniform(keys, height * width, first=size).view(-1, 1, height, width)
        rim = 1 - levels[:, 1, None, None, None]
        pixels = pixels.masked_fill(chance < -rim, 0).masked_fill_(chance > rim, 255)
    return pixels


def gaussian(keys: Tensor, count: int) -> Tensor:
    """Return standard normal numbers, float32 (N, count), for int32 keys (N,). With 23 bits none exceeds ±5.3."""
    return uniform(keys, count).erfinv_().mul_(math.sqrt(2))


def uniform(keys: Tensor, count: int, first: int = 0) -> Tensor:
    """Return float32 (N, count) between −1 and 1, both excluded, for int32 keys (N,) and numbers from `first` on."""
    numbers = _hash(torch.arange(first, first + count, dtype=torch.int32, device=keys.device))
    # float32 holds 23 bits exactly, and the half that keeps the result away from −1 and 1.
    return _hash(numbers ^ keys[:, None]).bitwise_right_shift_(9).float().add_(0.5).div_(2**22)


def _hash(values: Tensor) -> Tensor:
    """Hash int32 values in place, so that every output bit depends on every input bit.

    Function and constants, for unsigned integers, are of C. Wellons, hash-prospector. The mask makes the shift of a
    negative number that of an unsigned one.
    """
    shifted = torch.empty_like(values)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39), (15, 1)):
        torch.bitwise_right_shift(values, shift, out=shifted)
        values.bitwise_xor_(shifted.bitwise_and_(2 ** (32 - shift) - 1))
        values.mul_(factor)
    return values
