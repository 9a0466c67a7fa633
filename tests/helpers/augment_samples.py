"""Sections, images and comparisons that the tests of augmentation share."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from src import params
from src.params.writing import load_recipe
from src.training.augment import AugmentParams, draw

NO_AUGMENT: dict[str, Any] = load_recipe("mnist").train.augment.model_dump()  # nothing that changes an image

# Every operator on images of three channels, except those that mix images.
ALONE: dict[str, Any] = {
    "flip": True, "flip_vertical": True, "crop": 0.25, "resized_crop": [0.3, 1.0], "rotate": 20, "translate": 0.1,
    "scale": 0.2, "shear": 10, "perspective": 0.4, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1,
    "grey": 0.2, "policy": {"name": "rand", "operations": 2, "magnitude": 0.5}, "noise": 0.1, "salt_pepper": 0.1,
    "erase": 0.5,
}  # fmt: skip


def settings(**changes: Any) -> params.Augment:
    return params.Augment.model_validate(NO_AUGMENT | changes)


def photos(count: int = 4, height: int = 6, width: int = 5, channels: int = 3) -> Tensor:
    """Return random uint8 images (N, H, W, C)."""
    shape = (count, height, width, channels)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def pixels(images: Tensor) -> Tensor:
    """Turn images (N, H, W, C) into float32 (N, C, H, W), still in 0…255."""
    return images.permute(0, 3, 1, 2).float()


def drawn(section: params.Augment, images: Tensor) -> AugmentParams:
    size = (images.shape[1], images.shape[2])
    return draw(section, len(images), size, torch.Generator().manual_seed(0))
