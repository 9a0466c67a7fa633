"""Augment a batch by what was drawn for it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from src import params
from src.core.errors import UserError
from src.training.augment import colour, geometry, mixing, noise, policy
from src.training.augment.parameters import AugmentParams, draw
from src.training.augment.rectangles import inside


def check(augment: params.Augment, shape: tuple[int, int, int]) -> None:
    """Raise `UserError` if colours are to change and images of a shape (H, W, C) have none."""
    for key in ("saturation", "hue", "grey"):
        if shape[2] == 1 and getattr(augment, key):
            raise UserError(f"train.augment.{key} needs colour images, and these have one channel: set it to 0")


def apply(augment: params.Augment, images: Tensor, drawn: AugmentParams) -> tuple[Tensor, mixing.Mix | None]:
    """Augment uint8 images (N, H, W, C) by what was drawn for them; also return how they were mixed, None if not.

    The result has the same shape and values of 0 to 255: uint8, or float32 where pixels were computed. The order is:
    flips and shift, one interpolation for all other geometry, colour, policy, noise, erasing, mixing. Except for
    mixing, the result for an image does not depend on the other images of the batch.
    """
    if augment.flip or augment.flip_vertical or augment.crop:
        most = geometry.most_shift(augment, (images.shape[1], images.shape[2]))
        images = geometry.flip_and_shift(images, drawn.flip, drawn.shift, most, augment.pad)
    if drawn.matrix is not None or drawn.colour is not None or drawn.levels is not None:
        # Channels first in memory, since colours are computed from whole channels.
        pixels = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        if drawn.matrix is not None:
            pixels = geometry.warp(augment, pixels, drawn.matrix, drawn.window)
        if drawn.colour is not None:
            pixels = colour.adjust(augment, pixels, drawn.colour)
        for each in () if drawn.policy is None else drawn.policy.unbind(1):
            pixels = policy.adjust(pixels, each)
        if drawn.levels is not None and drawn.keys is not None:
            pixels = noise.add(augment, pixels, drawn.levels, drawn.keys)
        # Channels last in memory again, as the network computes: a third faster.
        images = pixels.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
    if drawn.erased is not None:
        images = images.masked_fill(inside(drawn.erased, (images.shape[1], images.shape[2]))[..., None], 0)
    if drawn.weight is None or drawn.pasted is None:
        return images, None
    return mixing.mix(augment, images, drawn.weight, drawn.pasted)


def preview(augment: params.Augment, image: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.uint8]:
    """Return an image (H, W, C) as it is, then augmented `count` − 1 times: (count, H, W, C), computed on the CPU.

    mixup and CutMix are left out, since they need two images.
    """
    alone = augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0})
    height, width, _ = image.shape
    drawn = draw(alone, count - 1, (height, width), Generator().manual_seed(seed))
    images, _ = apply(alone, torch.from_numpy(image.copy()).expand(count - 1, -1, -1, -1), drawn)
    shown = images.float().round().clamp(0, 255).to(torch.uint8).numpy()
    return np.concatenate([image[None], shown])
