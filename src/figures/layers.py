"""The network's layers: their sizes, and how much of an image each of them sees."""

from itertools import count, groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from src.figures.sheet import Tile, canvas, sheet, spread
from src.figures.style import BLUE, FAINT, MARGIN, QUIET, SMALL, drawing, ending, fitting
from src.models.inspection import Inspection, Layer

_MOST_LAYERS = 46
_ROW, _HEAD, _WIDTH, _BAR = 0.2, 0.26, 10.0, 1.2  # inches
_LEFT = {"layer": 0.5, "kind": 3.0}  # where a column begins
_RIGHT = {"#": 0.35, "output": 6.3, "parameters": 7.4, "sees": 9.85}  # where a column ends
_MOST_FIELDS, _COLUMNS, _INCHES = 16, 8, 1.25


def layer_table(path: Path, inspection: Inspection) -> None:
    """Draw a table with a row for each layer: the shape of its output, its parameters, its receptive field."""
    layers = inspection.layers
    cut = max(0, len(layers) - _MOST_LAYERS)
    half = _MOST_LAYERS // 2
    rows, convolutions = [], count(1)
    for layer in layers:
        rows.append(
            {
                "#": str(next(convolutions)) if layer.kind.startswith("conv") else "",
                "layer": ending(layer.name, 34),
                "kind": fitting("", layer.kind, "", _RIGHT["output"] - _LEFT["kind"] - 0.9),
                "output": "×".join(map(str, layer.output)),
                "parameters": f"{layer.parameters:,}" if layer.parameters else "",
                "sees": "×".join(map(str, layer.field.size)) if layer.field else "–",
            }
        )
    shares = [layer.parameters / max(layer.parameters for layer in layers) for layer in layers]
    if cut:
        rows[half:-half], shares[half:-half] = [{"layer": f"… {cut} more …"}], [0.0]
    title = f"Layers: {inspection.parameters:,} parameters, {inspection.size / 2**20:.2f} MiB"
    if cut:
        title += f"; the first and last {half} of {len(layers)}"
    caption = (
        "#: the number of a convolution, for visualize.layer. Output: channels × height × width, or features. Bars "
        "compare the numbers of parameters. The last column is the receptive field: how many pixels, height × width, "
        "one unit can see, those beyond the border included; it is computed from kernels, strides and padding along "
        "every path. Layers that have no weights and keep height and width are left out."
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
            bar = Rectangle(
                (_RIGHT["parameters"] + 0.1, y + 0.05), _BAR * share, _ROW - 0.1, color=BLUE, alpha=0.6, linewidth=0
            )
            axes.add_artist(bar)
            y += _ROW


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
    rows = [[[tile] for tile in tiles[start : start + _COLUMNS]] for start in range(0, len(tiles), _COLUMNS)]
    cut = f": {len(tiles)} of {len(different)} layers" if len(tiles) < len(different) else ""
    caption = (
        "The frame holds what the unit in the middle of a layer can see of this image, as far as it lies within it; "
        "the numbers are its whole height × width. What a class is recognised by should fit into the frames of the "
        "last layers."
    )
    if any(all_of_it):
        caption += " From the last one on, the unit in the middle sees the whole image."
    sheet(path, rows, f"Receptive fields{cut}", caption, image_inches=_INCHES, group_gap=0.12)


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
    return Tile(
        pale,
        [("", ending(layer.name, 18), ""), ("", layer.kind.partition(",")[0], ""), ("", size, "")],
        _INCHES,
        box=box,
    )
