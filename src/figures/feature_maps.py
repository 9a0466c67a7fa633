"""Feature maps of one image and of its shifted copy, side by side."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.figures.sheet import Tile, sheet, spread
from src.figures.style import short
from src.models.inspection import Inspection

Floats = NDArray[np.float32]

_MOST_LAYERS, _PAIRS, _INCHES = 15, 4, 1.15
_MOST_FILTERS, _FILTER_PAIRS, _FILTER_INCHES = 64, 8, 0.55
_HOW = "Left: of the image; right: of its copy, moved to the right. White is 0, red positive, blue negative"


def feature_maps(path: Path, inspection: Inspection) -> None:
    """Draw the image and its copy, then for every convolution the mean of its channels (2, h, w)."""
    names = list(inspection.means)
    shown = [names[index] for index in spread(len(names), _MOST_LAYERS)]
    room = 2 * _INCHES + 0.05
    image, copy = inspection.images
    pairs = [[Tile(image, ["the image and its shifted copy"], room), Tile(copy)]]
    for name in shown:
        first, second = _scaled(inspection.means[name])
        height, width = first.shape
        line = (f"{names.index(name) + 1}: ", name, f"  {height}×{width}")
        pairs.append([Tile(first, [line], room), Tile(second)])
    which = f"{len(shown)} of {len(names)} convolutions" if len(shown) < len(names) else "every convolution"
    caption = (
        f"The mean over the channels that a convolution puts out, before any activation. {_HOW}, scaled for each pair. "
        "A convolution's answer moves along with the image; where pooling has made the maps small, the shift falls "
        "between two positions and the pattern itself changes."
    )
    title = f"Feature maps of {which}: mean of the channels"
    sheet(path, pairs, title, caption, columns=_PAIRS, image_inches=_INCHES, gap=0.05)


def filter_maps(path: Path, inspection: Inspection) -> None:
    """Draw every channel (2, O, h, w) of the chosen convolution, for the image and for its shifted copy."""
    channels = inspection.maps.shape[1]
    shown = min(channels, _MOST_FILTERS)
    pairs = [list(map(Tile, _scaled(inspection.maps[:, number]))) for number in range(shown)]
    which = f"the first {shown} of {channels} filters" if shown < channels else f"all {channels} filters"
    number = list(inspection.means).index(inspection.chosen) + 1
    title = f"Feature maps of convolution {number}, {short(inspection.chosen, 32)}: {which}"
    caption = (
        f"What each filter of one convolution answers to the same image. {_HOW}, scaled for each pair. Filters that "
        "show the same do the same work; one that stays pale does none."
    )
    sheet(path, pairs, title, caption, columns=_FILTER_PAIRS, image_inches=_FILTER_INCHES, gap=0.05)


def _scaled(maps: Floats) -> Floats:
    """Scale both maps of a pair (2, h, w) by the same largest value, into [−1, 1]."""
    scaled: Floats = maps / max(float(np.abs(maps).max()), 1e-12)
    return scaled
