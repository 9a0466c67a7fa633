"""Noise that differs from pixel to pixel: a hash of the image's key and the pixel's number.

So it is a function of what was drawn for the image alone, whatever batch and device the image comes to, and nothing
has to be drawn or kept for a whole epoch of pixels.
"""

import math

import torch
from torch import Generator, Tensor

from src import params

_BITS = 32


def draw_levels(augment: params.Augment, count: int, generator: Generator) -> Tensor:
    """float32 (N, 2): standard deviation in pixel values, and share of the pixels that become black or white."""
    return torch.rand(count, 2, generator=generator) * torch.tensor([255 * augment.noise, augment.salt_pepper])


def draw_keys(count: int, generator: Generator) -> Tensor:
    """int64 (N,), below 2³²."""
    return torch.randint(2**_BITS, (count,), generator=generator)


def add(augment: params.Augment, pixels: Tensor, levels: Tensor, keys: Tensor) -> Tensor:
    """float32 (N, C, H, W) in 0…255 → the same, with Gaussian noise of its own for every channel of every pixel, then
    salt and pepper that hit all channels of a pixel."""
    _, channels, height, width = pixels.shape
    size = channels * height * width
    if augment.noise:
        noise = gaussian(keys, size).view_as(pixels)
        pixels = torch.addcmul(pixels, noise, levels[:, 0, None, None, None]).clamp_(0, 255)
    if augment.salt_pepper:
        chance = uniform(keys, height * width, first=size).view(-1, 1, height, width)
        pepper = levels[:, 1, None, None, None] / 2
        pixels = pixels.masked_fill(chance < pepper, 0).masked_fill_(chance > 1 - pepper, 255)
    return pixels


def gaussian(keys: Tensor, count: int) -> Tensor:
    """float32 (N, count): standard normal, for int64 keys (N,); at most 5.3 in size, since it is made of 24 bits."""
    return torch.erfinv(uniform(keys, count).mul_(2).sub_(1)).mul_(math.sqrt(2))


def uniform(keys: Tensor, count: int, first: int = 0) -> Tensor:
    """float32 (N, count) between 0 and 1, both excluded, for int64 keys (N,) and the numbers `first`, `first` + 1, …"""
    numbers = _hash(torch.arange(first, first + count, device=keys.device))
    return _hash(numbers ^ keys[:, None]).bitwise_right_shift_(8).float().add_(0.5).div_(2**24)


def _hash(values: Tensor) -> Tensor:
    """int64 in 0…2³² − 1 → the same, in place; every output bit depends on every input bit.

    Function and constants: C. Wellons, hash-prospector. Both are below 2³¹, so that products stay below 2⁶³.
    """
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        values.bitwise_xor_(values >> shift).mul_(factor).bitwise_and_(2**_BITS - 1)
    return values.bitwise_xor_(values >> 15)
