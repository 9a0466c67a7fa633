"""Receptive fields: the part of an image that each layer of the network sees."""

from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.figures.sheet import Tile, sheet, spread
from src.models.inspection import Inspection, Layer

_MOST_FIELDS, _COLUMNS, _INCHES = 16, 8, 1.25


def receptive_fields(path: Path, inspection: Inspection) -> None:
    """Draw what the middle unit of each layer sees of the image; leave out layers that see the same as the last."""
    image = inspection.images[0]
    known = [layer for layer in inspection.layers if layer.field and len(layer.output) == 3]
    different = [seen(image, next(group)) for _, group in groupby(known, key=lambda layer: layer.field)]
    height, width = image.shape[:2]
    all_of_it = [tile.box == (0, height - 1, 0, width - 1) for tile in different]
    if any(all_of_it):
        different = different[: all_of_it.index(True) + 1]
    tiles = [different[index] for index in spread(len(different), _MOST_FIELDS)]
    cut = f": {len(tiles)} of {len(different)} layers" if len(tiles) < len(different) else ""
    caption = (
        "The frame holds what the unit in the middle of a layer can see of this image, as far as it lies within it; "
        "the numbers are its whole height × width. What a class is recognised by should fit into the frames of the "
        "last layers."
    )
    if any(all_of_it):
        caption += " From the last one on, the unit in the middle sees the whole image."
    groups = [[tile] for tile in tiles]
    sheet(path, groups, f"Receptive fields{cut}", caption, columns=_COLUMNS, image_inches=_INCHES, group_gap=0.12)


def seen(image: NDArray[np.uint8], layer: Layer) -> Tile:
    """Make a tile of the image, pale outside of what the layer's middle unit sees."""
    assert layer.field is not None
    (low, left), (high, right), (down, across) = layer.field
    height, width = image.shape[:2]
    rows, columns = (layer.output[1] - 1) // 2 * down, (layer.output[2] - 1) // 2 * across
    box = (max(0, low + rows), min(height - 1, high + rows), max(0, left + columns), min(width - 1, right + columns))
    inside = np.zeros((height, width, 1), dtype=bool)
    inside[box[0] : box[1] + 1, box[2] : box[3] + 1] = True
    pale = np.where(inside, image, 255 - (255 - image) // 3).astype(np.uint8)
    size = "×".join(map(str, layer.field.size))
    return Tile(pale, [layer.name, layer.kind.partition(",")[0], size], _INCHES, box=box)
