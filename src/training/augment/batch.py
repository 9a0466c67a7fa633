"""A batch, augmented by what was drawn for it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from src import params
from src.core.errors import UserError
from src.training.augment import colour, geometry, mixing, noise
from src.training.augment.parameters import AugmentParams, draw
from src.training.augment.rectangles import inside


def check(augment: params.Augment, shape: tuple[int, int, int]) -> None:
    """Raises `UserError` where images of that shape, (H, W, C), have no colour that the section could change, or
    would be shifted out of sight."""
    height, width, channels = shape
    if augment.crop >= max(2, min(height, width)):
        raise UserError(
            f"train.augment.crop is {augment.crop}, and the images have {height}×{width} pixels: nothing of them would "
            "be left; make it smaller"
        )
    for key in ("saturation", "hue", "grey"):
        if channels == 1 and getattr(augment, key):
            raise UserError(f"train.augment.{key} needs colour images, and these have one channel: set it to 0")


def apply(augment: params.Augment, images: Tensor, draws: AugmentParams) -> tuple[Tensor, mixing.Mix | None]:
    """uint8 images (N, H, W, C) → the same shape in 0…255, as uint8, or float32 where pixels had to be computed; and
    how they were mixed with each other, if that is asked for.

    In this order: flips and shift, one interpolation for all other geometry, colour, noise, erasing, mixing. But for
    mixing, an image's result does not depend on the batch it comes in.
    """
    if augment.flip or augment.flip_vertical or augment.crop:
        images = geometry.flip_and_shift(images, draws.flip, draws.shift, augment.crop, augment.pad)
    images = _compute_pixels(augment, images, draws)
    if draws.erased is not None:
        images = images.masked_fill(inside(draws.erased, (images.shape[1], images.shape[2]))[..., None], 0)
    if draws.weight is None or draws.pasted is None:
        return images, None
    return mixing.mix(augment, images, draws.weight, draws.pasted)


def _compute_pixels(augment: params.Augment, images: Tensor, draws: AugmentParams) -> Tensor:
    """Images (N, H, W, C) as they are, or as float32 where geometry, colour or noise are asked for."""
    if draws.matrix is None and draws.colour is None and draws.levels is None:
        return images
    # Channel by channel in memory: colours are computed from whole channels.
    pixels = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    if draws.matrix is not None:
        pixels = geometry.warp(augment, pixels, draws.matrix, draws.window)
    if draws.colour is not None:
        pixels = colour.adjust(augment, pixels, draws.colour)
    if draws.levels is not None and draws.keys is not None:
        pixels = noise.add(augment, pixels, draws.levels, draws.keys)
    # As stored images lie in memory: the network would compute channels-first otherwise, a third slower.
    return pixels.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)


def preview(augment: params.Augment, image: NDArray[np.uint8], count: int, seed: int) -> NDArray[np.uint8]:
    """One image (H, W, C) → (count, H, W, C): first as it is, then `count` − 1 draws, on the CPU.

    Without mixup and CutMix, which take two images.
    """
    alone = augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0})
    height, width, _ = image.shape
    draws = draw(alone, count - 1, (height, width), Generator().manual_seed(seed))
    images, _ = apply(alone, torch.from_numpy(image.copy()).expand(count - 1, -1, -1, -1), draws)
    shown = images.float().round().clamp(0, 255).to(torch.uint8).numpy()
    return np.concatenate([image[None], shown])
