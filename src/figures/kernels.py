"""What the convolutions look for: their kernels, at the end and as they came to be."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.figures.sheet import Tile, sheet, spread

Floats = NDArray[np.float32]

_COLUMNS, _MOST = 8, 64  # kernels of a sheet
_MOST_ROWS, _MOST_CHANNELS = 16, 16  # of a sheet with a row per kernel
_EPOCHS, _FOLLOWED = 10, 8  # snapshots, and kernels of each convolution, of a strip
_NUMBERS = "White is 0, red positive, blue negative."


def first_kernels(path: Path, weights: Floats) -> None:
    """The kernels (O, C, H, W) of the first convolution, as small images: in colour for C = 3, else of channel 1."""
    shown = weights[:_MOST]
    which = f"The first {_MOST} of {len(weights)}" if len(weights) > _MOST else f"The {len(weights)}"
    tiles = [_tile(kernel, _largest(kernel)) for kernel in shown]
    rows = [[tiles[start : start + _COLUMNS]] for start in range(0, len(tiles), _COLUMNS)]
    colours = "Medium grey is 0; a colour is what the kernel responds to most." if weights.shape[1] == 3 else _NUMBERS
    caption = f"{weights.shape[2]}×{weights.shape[3]} weights each, scaled by the kernel's largest. {colours}"
    sheet(path, rows, f"{which} kernels of the first convolution", caption, image_inches=0.75)


def second_kernels(path: Path, weights: Floats) -> None:
    """The kernels (O, I, H, W) of the second convolution: a row for each of the first, a column for each channel."""
    kernels, channels = len(weights), weights.shape[1]
    shown = weights[:_MOST_ROWS, :_MOST_CHANNELS]
    rows = [[[Tile(channel / _largest(kernel)) for channel in kernel]] for kernel in shown]
    title = f"Kernels of the second convolution: {_of(len(shown), kernels)} kernels"
    title += f", {_of(shown.shape[1], channels)} channels" if channels > 1 else ""
    caption = (
        f"A row is one kernel; its columns, {weights.shape[2]}×{weights.shape[3]} weights each, belong to the channels "
        f"that the first convolution hands on. Scaled by the row's largest weight. {_NUMBERS}"
    )
    sheet(path, rows, title, caption, image_inches=0.42, gap=0.06)


def kernels_by_epoch(path: Path, snapshots: Mapping[str, NDArray[np.generic]]) -> None:
    """How kernels came to be, from the arrays of `models/snapshots.npz`: `epochs` (S,), `first` (S, O, I, H, W) and
    `second` likewise, if there is one. Columns are epochs; rows are the first kernels of each convolution."""
    chosen = spread(len(snapshots["epochs"]), _EPOCHS)
    epochs = snapshots["epochs"][chosen].tolist()
    rows = []
    for name, words in ("first", "first convolution"), ("second", "second convolution"):
        if name not in snapshots:
            continue
        weights = np.asarray(snapshots[name], dtype=np.float32)[chosen]
        for number in range(min(_FOLLOWED, weights.shape[1])):
            # Of a second convolution only the first channel: its numbers are no colours.
            evolution = weights[:, number] if name == "first" else weights[:, number, :1]
            largest = _largest(evolution)
            above = [
                [("", words, ""), ("", f"epoch {epochs[0]}", "")],
                *[[("", str(epoch), "")] for epoch in epochs[1:]],
            ]
            lines = above if number == 0 else [[] for _ in epochs]
            tiles = [_tile(kernel, largest, line) for kernel, line in zip(evolution, lines, strict=True)]
            rows.append([tiles])
    caption = (
        "Rows: kernels; of the second convolution the part for its first channel. Columns: the state after an epoch, 0 "
        "is before training. Each row is scaled by its largest weight, so a pattern that grows stands out; rows that "
        "stay noise have learned little."
    )
    title = f"Kernels over {epochs[-1]} epochs"
    if len(chosen) < len(snapshots["epochs"]):
        title += f", at {len(chosen)} of {len(snapshots['epochs'])} moments"
    sheet(path, rows, title, caption, image_inches=0.6, gap=0.06)


def _largest(weights: Floats) -> float:
    """Kernels differ in size by orders of magnitude, and the pattern is what matters."""
    return max(float(np.abs(weights).max()), 1e-12)


def _tile(kernel: Floats, largest: float, lines: list[tuple[str, str, str]] | None = None) -> Tile:
    """A kernel (C, H, W) divided by `largest`: in colour for C = 3, else its first channel."""
    scaled = kernel / largest
    if len(kernel) == 3:
        image: NDArray[np.generic] = np.rint(127.5 * (1 + scaled.transpose(1, 2, 0))).astype(np.uint8)
    else:
        image = scaled[0]
    return Tile(image, lines or [], room=2.0)


def _of(shown: int, total: int) -> str:
    return f"{shown} of {total}" if shown < total else f"{total}"
