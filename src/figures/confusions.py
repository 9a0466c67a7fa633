"""The most frequent confusions of one class with another, with images."""

from pathlib import Path

import numpy as np
import pandas
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from src.figures.sheet import Tile, canvas, place
from src.figures.style import CAPTION, MARGIN, QUIET, SMALL, VERMILLION, drawing, fitting, percent

_MOST = 12
_EXAMPLES = 6
_ROW, _IMAGE = 0.62, 0.54  # inches
_NAMES, _BAR, _NUMBER = 2.6, 2.4, 1.35  # inches for the two names, the longest bar, and the number behind it


def largest_confusions(
    path: Path, images: NDArray[np.uint8], confusion: pandas.DataFrame, predictions: pandas.DataFrame
) -> None:
    """Draw the most frequent rows of `label,prediction,count`, with test images (N, H, W, C), the surest first."""
    wrong = confusion[confusion["label"] != confusion["prediction"]]
    wrong = wrong.sort_values("count", ascending=False, kind="stable")
    title = "Which classes are taken for which"
    shown = wrong.head(_MOST)
    if len(wrong) > len(shown):
        title += f": the {len(shown)} most frequent of {len(wrong)} confusions"
    caption = (
        f"Bold: what the images are. Below it: what the model takes them for. Bars: how many test images, and "
        f"which share of the class; together {shown['count'].sum():,} of {wrong['count'].sum():,} mistakes. Images: up "
        f"to {_EXAMPLES} of each, the most confident first."
    )
    totals = confusion.groupby("label")["count"].sum()
    surest = predictions.sort_values("confidence", ascending=False, kind="stable")
    width = 2 * MARGIN + _NAMES + _BAR + _NUMBER + _EXAMPLES * (_IMAGE + 0.06)
    with drawing(path, width, _ROW * len(shown), title, caption, plot=False) as (figure, y):
        axes = canvas(figure)
        for label, prediction, count in shown.itertuples(index=False, name=None):
            middle = y + _ROW / 2
            room = _NAMES - 0.15
            axes.text(
                MARGIN, middle - 0.03, fitting("", label, "", 0.85 * room), weight="bold", size=SMALL, va="bottom"
            )
            axes.text(MARGIN, middle + 0.03, fitting("taken for ", prediction, "", room), size=SMALL, va="top")
            bar, left = _BAR * count / shown["count"].max(), MARGIN + _NAMES
            axes.add_artist(Rectangle((left, middle - 0.14), bar, 0.28, color=VERMILLION, alpha=0.75, linewidth=0))
            number = f"{count:,}  ({percent(count / totals[label], 1)})"
            axes.text(left + bar + 0.08, middle, number, va="center", size=CAPTION, color=QUIET)
            left += _BAR + _NUMBER
            these = (surest["label"] == label) & (surest["prediction"] == prediction)
            for index in surest.loc[these, "index"].head(_EXAMPLES):
                place(axes, Tile(images[index]), left, middle - _IMAGE / 2, _IMAGE, _IMAGE)
                left += _IMAGE + 0.06
            y += _ROW
