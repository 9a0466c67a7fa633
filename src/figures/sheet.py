"""Contact sheets: many small images with words above them, placed by the inch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from src.figures.style import DPI, FAINT, MARGIN, SMALL, VERMILLION, drawing, fitting

_LINE = 1.35 * SMALL / 72  # inches from one line of small text to the next


@dataclass(frozen=True)
class Tile:
    """Hold an image (H, W, C), or (H, W) of numbers in [−1, 1] for a diverging colour map, with lines above it."""

    image: NDArray[np.generic]
    lines: Sequence[str | tuple[str, str, str]] = ()  # a name, or what stands before it, the name, what stands after it
    room: float = 0.0  # inches for a line; a longer name is shortened
    framed: bool = False
    box: tuple[int, int, int, int] | None = None  # first and last row, first and last column, within the image


def spread(length: int, count: int) -> NDArray[np.int64]:
    """Return up to `count` indices, evenly spaced over range(length), the first and the last among them."""
    return np.linspace(0, length - 1, min(length, count)).round().astype(np.int64)


def canvas(figure: Figure) -> Axes:
    """Make axes over the whole figure, in inches from its top left corner, on which nothing moves."""
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, figure.get_figwidth()), ylim=(figure.get_figheight(), 0), autoscale_on=False)
    axes.set_axis_off()
    return axes


def sheet(
    path: Path,
    groups: Sequence[Sequence[Tile | None]],
    title: str,
    caption: str,
    *,
    columns: int,
    image_inches: float,
    gap: float = 0.08,
    group_gap: float = 0.25,
) -> None:
    """Write groups of tiles, `columns` groups in a row: tiles of a group are `gap` inches apart, groups `group_gap`.

    The lines of a tile begin at its left edge; None leaves a place empty.
    """
    rows = [groups[start : start + columns] for start in range(0, len(groups), columns)]
    widths = [sum(len(group) * (image_inches + gap) - gap + group_gap for group in row) - group_gap for row in rows]
    width = max(max(widths) + 2 * MARGIN, 6.5)
    # The tiles with the most lines and with the highest image make the height of a row.
    tiles = [[tile for group in row for tile in group if tile] for row in rows]
    lines = [max(len(tile.lines) for tile in row) for row in tiles]
    heads = [number * _LINE + 0.04 + 0.6 * gap if number else 0.0 for number in lines]
    heights = [image_inches * min(1, max(tile.image.shape[0] / tile.image.shape[1] for tile in row)) for row in tiles]
    with drawing(path, width, sum(heads) + sum(heights) + len(rows) * gap, title, caption, plot=False) as (figure, y):
        axes = canvas(figure)
        for row, head, height in zip(rows, heads, heights, strict=True):
            x = MARGIN
            for group in row:
                for tile in group:
                    if tile:
                        place(axes, tile, x, y + head, image_inches, height)
                    x += image_inches + gap
                x += group_gap - gap
            y += head + height + gap


def place(axes: Axes, tile: Tile, x: float, y: float, width: float, height: float) -> None:
    """Draw the tile in the middle of a box of these inches, whose top left corner is (x, y), and its lines above it.

    The image is enlarged or reduced here, to whole pixels of the picture; matplotlib would take five times as long.
    """
    pixels = np.asarray(tile.image)
    rows, columns = pixels.shape[:2]
    pixel = min(width / columns, height / rows)  # inches
    left, top = x + (width - pixel * columns) / 2, y + (height - pixel * rows) / 2
    single = pixels.squeeze(axis=2) if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    signed = single.ndim == 2 and single.dtype.kind == "f"
    image = Image.fromarray(colormaps["RdBu_r"]((single + 1) / 2, bytes=True) if signed else single).convert("RGB")
    # Small images show their pixels; large ones are reduced without aliasing.
    method = Image.Resampling.NEAREST if pixel * DPI > 1 else Image.Resampling.LANCZOS
    image = image.resize((max(1, round(pixel * columns * DPI)), max(1, round(pixel * rows * DPI))), method)
    if signed:  # values near 0 are white, as the ground is, so the tile needs an edge
        ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=FAINT)
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.figimage(
        np.asarray(image), round(left * DPI), round(figure.bbox.height - top * DPI) - image.height, origin="upper",
        zorder=-1,
    )  # fmt: skip
    frames = [((left, top), pixel * columns, pixel * rows, 2.2)] if tile.framed else []
    if tile.box:
        first, last, begin, end = tile.box
        corner = (left + begin * pixel, top + first * pixel)
        frames.append((corner, (end + 1 - begin) * pixel, (last + 1 - first) * pixel, 1.5))
    for corner, wide, high, line in frames:
        axes.add_artist(Rectangle(corner, wide, high, fill=False, edgecolor=VERMILLION, linewidth=line))
    for number, words in enumerate(reversed(tile.lines)):
        text = fitting(*(("", words, "") if isinstance(words, str) else words), tile.room)
        axes.text(x, y - 0.045 - number * _LINE, text, fontsize=SMALL, va="baseline", ha="left")
