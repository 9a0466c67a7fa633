"""What the network is made of: layers with their sizes, and how much of an image each of them sees."""

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from src.anatomy.examine import Anatomy, Layer
from src.figures.sheet import Tile, canvas, sheet, spread
from src.figures.style import BLUE, FAINT, MARGIN, QUIET, SMALL, drawing, fitting

_MOST_LAYERS = 46
_ROW, _HEAD, _WIDTH, _BAR = 0.2, 0.26, 10.0, 1.2  # inches
_LEFT = {"layer": MARGIN, "kind": 2.9}  # where a column begins
_RIGHT = {"output": 6.1, "parameters": 7.3, "sees": 9.85}  # where a column ends
_MOST_FIELDS, _COLUMNS, _INCHES = 16, 8, 1.25


def layer_table(path: Path, anatomy: Anatomy) -> None:
    """A row per layer: its output's shape, its parameters, its receptive field."""
    layers = anatomy.layers
    cut = max(0, len(layers) - _MOST_LAYERS)
    half = _MOST_LAYERS // 2
    rows = [*map(_cells, layers[:half]), {"layer": f"… {cut} more …"}, *map(_cells, layers[-half:])]
    rows = rows if cut else list(map(_cells, layers))
    shares = [layer.parameters / max(layer.parameters for layer in layers) for layer in layers]
    shares = [*shares[:half], 0.0, *shares[-half:]] if cut else shares
    title = f"Layers: {anatomy.parameters:,} parameters, {anatomy.size / 2**20:.2f} MiB"
    if cut:
        title += f"; the first and last {half} of {len(layers)}"
    caption = (
        "Output: channels × height × width, or features. Bars compare the numbers of parameters. The last column is "
        "the receptive field: how many pixels, height × width, one unit can see, those beyond the border included; it "
        "is computed from kernels, strides and padding along every path. Layers that have no weights and keep the "
        "shape are left out."
    )
    if not all(layer.field for layer in layers):
        caption += " “–”: it could not be computed."
    with drawing(path, _WIDTH, _HEAD + _ROW * len(rows), title, caption, plot=False) as (figure, y):
        axes = canvas(figure)

        def write(cells: dict[str, str], middle: float, **style: Any) -> None:
            for column, words in cells.items():
                left = column in _LEFT
                x = _LEFT[column] if left else _RIGHT[column]
                axes.text(x, middle, words, ha="left" if left else "right", va="center", fontsize=SMALL, **style)

        write({column: column for column in (*_LEFT, *_RIGHT)}, y + _HEAD / 2, color=QUIET, fontweight="bold")
        y += _HEAD
        for cells, share in zip(rows, shares, strict=True):
            axes.hlines(y, MARGIN, _RIGHT["sees"], color=FAINT, linewidth=0.6)
            write(cells, y + _ROW / 2)
            bar = Rectangle((_RIGHT["parameters"] + 0.1, y + 0.05), _BAR * share, _ROW - 0.1, color=BLUE, alpha=0.6)
            axes.add_patch(bar)
            y += _ROW


def _cells(layer: Layer) -> dict[str, str]:
    return {
        "layer": fitting("", layer.name, "", _LEFT["kind"] - MARGIN - 0.1),
        "kind": fitting("", layer.kind, "", _RIGHT["output"] - _LEFT["kind"] - 0.9),
        "output": "×".join(map(str, layer.output)),
        "parameters": f"{layer.parameters:,}" if layer.parameters else "",
        "sees": "×".join(map(str, layer.field.size)) if layer.field else "–",
    }


def receptive_fields(path: Path, anatomy: Anatomy) -> None:
    """What the unit in the middle of each layer sees of the image; layers that see as much as the one before are left
    out."""
    image = anatomy.images[0]
    known = [layer for layer in anatomy.layers if layer.field and len(layer.output) == 3]
    different = [next(group) for _, group in groupby(known, key=lambda layer: layer.field)]
    shown = [different[index] for index in spread(len(different), _MOST_FIELDS)]
    tiles = [_seen(image, layer) for layer in shown]
    rows = [[[tile] for tile in tiles[start : start + _COLUMNS]] for start in range(0, len(tiles), _COLUMNS)]
    cut = f": {len(shown)} of {len(different)} layers" if len(shown) < len(different) else ""
    caption = (
        "The frame holds what the unit in the middle of a layer can see of this image, as far as it lies within it; "
        "the numbers are its whole height × width. What a class is recognised by should fit into the frames of the "
        "last layers."
    )
    sheet(path, rows, f"Receptive fields{cut}", caption, image_inches=_INCHES, group_gap=0.12)


def _seen(image: NDArray[np.uint8], layer: Layer) -> Tile:
    """The image, pale outside of what the middle unit sees."""
    assert layer.field is not None
    (low, left), (high, right), (down, across) = layer.field
    height, width = image.shape[:2]
    rows, columns = (layer.output[1] - 1) // 2 * down, (layer.output[2] - 1) // 2 * across
    box = (max(0, low + rows), min(height - 1, high + rows), max(0, left + columns), min(width - 1, right + columns))
    inside = np.zeros((height, width, 1), dtype=bool)
    inside[box[0] : box[1] + 1, box[2] : box[3] + 1] = True
    pale = np.where(inside, image, 255 - (255 - image) // 3).astype(np.uint8)
    size = "×".join(map(str, layer.field.size))
    return Tile(pale, [("", layer.name, ""), ("", layer.kind.partition(",")[0], ""), ("", size, "")], _INCHES, box=box)
