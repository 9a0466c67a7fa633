"""Explanation of a decision: a map of the probability that is lost where a part of the image is covered.

Occlusion (Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014): it needs nothing but the
model's answers, so it is the same for a file and for an exported graph.
"""

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

from src.figures.sheet import Tile, sheet
from src.figures.style import ending, percent
from src.prediction.classify import batch_size
from src.prediction.model import Model
from src.prediction.photos import Pixels

_INCHES = 2.4
_SQUARES = 7  # so many covered squares side by side; each is moved by half of its side


class Occlusion(NamedTuple):
    """Hold a map of the probability that a class loses."""

    loss: NDArray[np.float64]  # (H, W): probability lost, the mean over the squares that cover a pixel
    side: int  # of a square, in pixels


def occlusion(model: Model, image: Pixels, label: int) -> Occlusion:
    """Map what class `label` loses if a part of `image` (H, W, C) is covered by the training images' mean colour."""
    height, width = image.shape[:2]
    side = min(height, width, max(2, min(height, width) // _SQUARES))
    corners = list(product(_starts(height, side), _starts(width, side)))
    colour = np.round(255 * np.asarray(model.spec.mean)).astype(np.uint8)
    uncovered = float(model.probabilities(image[np.newaxis].copy())[0, label])
    lost, covers = np.zeros((height, width)), np.zeros((height, width))
    size = batch_size(model.spec.image)
    for start in range(0, len(corners), size):
        part = corners[start : start + size]
        covered = np.repeat(image[np.newaxis], len(part), axis=0)
        for copy, (top, left) in zip(covered, part, strict=True):
            copy[top : top + side, left : left + side] = colour
        for (top, left), left_over in zip(part, model.probabilities(covered)[:, label], strict=True):
            lost[top : top + side, left : left + side] += uncovered - float(left_over)
            covers[top : top + side, left : left + side] += 1
    return Occlusion(lost / covers, side)


def _starts(length: int, side: int) -> list[int]:
    """Return where squares begin along an edge; the last one ends with the image."""
    return sorted({*range(0, length - side, max(1, side // 2)), length - side})


def explain(path: Path, model: Model, image: Pixels, probabilities: NDArray[np.float32], name: str) -> None:
    """Write a PNG of the photo as the model saw it, the map for its most probable class, and one on the other."""
    label = int(probabilities.argmax())
    loss, side = occlusion(model, image, label)
    most = float(np.abs(loss).max())
    scaled = loss / max(most, 1e-12)
    chosen = model.spec.classes[label]
    tiles = [
        Tile(image, [("", "what the model saw", "")], _INCHES),
        Tile(scaled, [("what it needs for ", chosen, "")], _INCHES),
        Tile(laid_over(image, scaled), [("", "both", "")], _INCHES),
    ]
    caption = (
        f"Where a square of {side}×{side} pixels is covered with the mean colour of the training images, “{chosen}” "
        f"loses probability (red) or gains it (blue): at most {100 * most:.2g} points, the mean over all squares that "
        "cover a pixel."
    )
    title = f"{ending(name, 48)}: {chosen}, {percent(float(probabilities[label]), 1)}"
    sheet(path, [[[tile] for tile in tiles]], title, caption, image_inches=_INCHES)


def laid_over(image: Pixels, scaled: NDArray[np.float64]) -> Pixels:
    """Return the image in grey with the colours of a map (H, W) in [−1, 1] on it, the stronger the less grey."""
    grey = np.broadcast_to(image.mean(axis=2, keepdims=True), (*image.shape[:2], 3))
    colours = 255 * colormaps["RdBu_r"]((scaled + 1) / 2)[..., :3]
    share = 0.8 * np.abs(scaled)[..., np.newaxis]
    laid: Pixels = (share * colours + (1 - share) * grey).round().astype(np.uint8)
    return laid
