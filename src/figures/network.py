"""What the network has learned to look for."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from src.figures.sheet import Tile, sheet
from src.figures.style import nothing

_COLUMNS = 8
_MOST = 64


def first_kernels(model: Path, channels: int) -> NDArray[np.float32] | None:
    """Weights (O, C, H, W) of the convolution that sees the image itself, read without torch; None if there is none.

    It is the first in the order of names (numbers compared as numbers) whose kernels take the image's channels and
    are larger than 1×1.
    """
    with safe_open(model, framework="numpy") as file:
        for name in sorted(file.keys(), key=_natural):
            shape = file.get_slice(name).get_shape()
            if len(shape) == 4 and shape[1] == channels and shape[2] * shape[3] > 1:
                kernels: NDArray[np.float32] = file.get_tensor(name)
                return kernels
    return None


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def kernels(path: Path, weights: NDArray[np.float32] | None) -> None:
    """The kernels (O, C, H, W) of the first convolution, as small images: in colour for C = 3, else of channel 1."""
    if weights is None:
        nothing(path, "Kernels of the first convolution", "No convolution looks at the image itself.")
        return
    shown = weights[:_MOST]
    which = f"The first {_MOST} of {len(weights)}" if len(weights) > _MOST else f"The {len(weights)}"
    # Each by its own largest weight: kernels differ in size by orders of magnitude, and the pattern is what matters.
    scaled = [kernel / max(float(np.abs(kernel).max()), 1e-12) for kernel in shown]
    if weights.shape[1] == 3:
        tiles = [Tile(np.rint(127.5 * (1 + kernel.transpose(1, 2, 0))).astype(np.uint8)) for kernel in scaled]
        colours = "Medium grey is 0; a colour is what the kernel responds to most."
    else:
        tiles = [Tile(kernel[0]) for kernel in scaled]
        colours = "White is 0, red positive, blue negative."
    rows = [[tiles[start : start + _COLUMNS]] for start in range(0, len(tiles), _COLUMNS)]
    caption = f"{weights.shape[2]}×{weights.shape[3]} weights each, scaled by the kernel's largest. {colours}"
    sheet(path, rows, f"{which} kernels of the first convolution", caption, image_inches=0.75)
