"""Networks of any name, untrained, for images of any size."""

from typing import Any

import torch

from src import params
from src.data.prepared import ImageFormat
from src.models.build import build
from src.models.classifier import Classifier


def model_section(name: str = "cifar_basic", **changes: Any) -> params.Model:
    """Return the config `model` of an untrained network, with these changes."""
    values = {"name": name, "weights": "none", "freeze": False, "activation": None, "dropout": 0.0, "normalize": "half"}
    return params.Model.model_validate(values | changes)


def image_format(height: int, width: int, channels: int) -> ImageFormat:
    return ImageFormat(height=height, width=width, channels=channels, resize=None)


def untrained(name: str, side: int = 32, channels: int = 3, classes: int = 10, **changes: Any) -> Classifier:
    """Return a classifier of square images, the same each time."""
    torch.manual_seed(0)
    constants = [0.3] * channels, [0.4] * channels
    return build(model_section(name, **changes), image_format(side, side, channels), classes, *constants)
