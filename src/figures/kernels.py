"""The kernels of the first two convolutions, after training and on the way."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.figures.sheet import Tile, sheet, spread

Floats = NDArray[np.float32]

_COLUMNS, _MOST = 8, 64  # kernels of a sheet
_MOST_ROWS, _MOST_CHANNELS = 16, 16  # of a sheet with a row per kernel
_EPOCHS, _FOLLOWED = 8, 8  # snapshots, and kernels of each convolution, of a strip
_NUMBERS = "White is 0, red positive, blue negative."


def kernels(path: Path, weights: Floats, place: str) -> None:
    """Draw the kernels (O, C, H, W) of a convolution as images: in colour for C = 3, else of channel 1.

    place: "first" or "second", of the convolution.
    """
    shown = weights[:_MOST]
    which = f"The first {_MOST} of {len(weights)}" if len(weights) > _MOST else f"The {len(weights)}"
    tiles = [_tile(kernel, _largest(kernel)) for kernel in shown]
    colours = "Medium grey is 0; a colour is what the kernel responds to most." if weights.shape[1] == 3 else _NUMBERS
    caption = f"{weights.shape[2]}×{weights.shape[3]} weights each, scaled by the kernel's largest. {colours}"
    title = f"{which} kernels of the {place} convolution"
    sheet(path, [[tile] for tile in tiles], title, caption, columns=_COLUMNS, image_inches=0.75, group_gap=0.08)


def kernels_by_channel(path: Path, weights: Floats) -> None:
    """Draw the kernels (O, I, H, W) of the second convolution: a row for each kernel, a column for each channel."""
    shown = weights[:_MOST_ROWS, :_MOST_CHANNELS]
    rows = [[Tile(channel / _largest(kernel)) for channel in kernel] for kernel in shown]
    title = (
        f"Kernels of the second convolution: {len(shown)} of {len(weights)} kernels, {shown.shape[1]} of "
        f"{weights.shape[1]} channels"
    )
    caption = (
        f"A row is one kernel; its columns, {weights.shape[2]}×{weights.shape[3]} weights each, belong to the channels "
        f"that the first convolution hands on. Scaled by the row's largest weight. {_NUMBERS}"
    )
    sheet(path, rows, title, caption, columns=1, image_inches=0.42, gap=0.06)


def kernels_by_epoch(path: Path, snapshots: Mapping[str, NDArray[np.generic]]) -> None:
    """Draw kernels by epoch, from the arrays of `models/snapshots.npz`: a row per kernel, a column per epoch.

    The arrays are `epochs` (S,), `first` (S, O, I, H, W) and, if there is a second convolution, `second` likewise.
    """
    chosen = spread(len(snapshots["epochs"]), _EPOCHS)
    epochs = snapshots["epochs"][chosen].tolist()
    strips = [_strip(snapshots["first"][chosen], "first convolution", epochs)]
    if "second" in snapshots:
        # Only the first channel: those of a second convolution are no colours.
        strips.append(_strip(snapshots["second"][chosen, :, :1], "second convolution", epochs))
    empty: list[Tile | None] = [None] * len(epochs)
    groups = [row or empty for rows in zip_longest(*strips) for row in rows]
    title = f"Kernels from epoch {epochs[0]} to {epochs[-1]}"
    if len(chosen) < len(snapshots["epochs"]):
        title += f", {len(chosen)} of {len(snapshots['epochs'])} moments"
    caption = (
        "A row follows one kernel; a column shows it after so many epochs, 0 is before training. Of the second "
        "convolution it is the part for its first channel. Each row is scaled by its largest weight, so a pattern "
        "that grows stands out; rows that stay noise have learned little."
    )
    most = max(snapshots[name].shape[1] for name in snapshots if name != "epochs")
    if most > _FOLLOWED:
        caption += f" Shown are the first {_FOLLOWED} kernels."
    sheet(path, groups, title, caption, columns=len(strips), image_inches=0.52, gap=0.05, group_gap=0.4)


def _strip(weights: NDArray[np.generic], name: str, epochs: Sequence[int]) -> list[list[Tile | None]]:
    """Make a row of tiles for each of the first kernels in (S, O, C, H, W); lines above the first row name epochs."""
    strip: list[list[Tile | None]] = []
    for evolution in np.asarray(weights, dtype=np.float32)[:, :_FOLLOWED].swapaxes(0, 1):
        lines = [[f"epoch {epoch}" if epoch == epochs[0] else str(epoch)] for epoch in epochs]
        lines[0].insert(0, name)
        largest = _largest(evolution)
        above = lines if not strip else [[] for _ in epochs]
        strip.append([_tile(kernel, largest, line) for kernel, line in zip(evolution, above, strict=True)])
    return strip


def _largest(weights: Floats) -> float:
    """Return the largest absolute weight, by which kernels are divided: their sizes differ by orders of magnitude."""
    return max(float(np.abs(weights).max()), 1e-12)


def _tile(kernel: Floats, largest: float, lines: Sequence[str] = ()) -> Tile:
    """Make a tile of a kernel (C, H, W) divided by `largest`: in colour for C = 3, else of its first channel."""
    scaled = kernel / largest
    if len(kernel) == 3:
        image: NDArray[np.generic] = np.rint(127.5 * (1 + scaled.transpose(1, 2, 0))).astype(np.uint8)
    else:
        image = scaled[0]
    return Tile(image, lines, room=2.0)
