"""Accuracy on test images that are shifted, made noisy or attacked."""

from pathlib import Path

import pandas
from matplotlib.ticker import MaxNLocator

from src.figures.style import BLUE, GREEN, ORANGE, QUIET, SMALL, VERMILLION, drawing, percent_tick

_KINDS = {
    "shift": ("Shift", "pixels"),
    "gaussian": ("Gaussian noise", "standard deviation"),
    "salt_pepper": ("Salt-and-pepper noise", "share of pixels"),
    "fgsm": ("Attack by FGSM", "ε"),
}
_DIRECTIONS = {
    "": (BLUE, "o"), "left": (BLUE, "<"), "right": (ORANGE, ">"), "up": (GREEN, "^"), "down": (VERMILLION, "v"),
}  # fmt: skip


def robustness(path: Path, table: pandas.DataFrame) -> None:
    """Draw accuracy against strength with its 95 % intervals, from the columns of `reports/robustness.csv`.

    There is a panel for each kind of corruption; a shift has a line per direction.
    """
    kinds = table["kind"].drop_duplicates().tolist()
    clean = table[table["strength"] == 0]["accuracy"].max()
    title = "Robustness: accuracy on changed test images"
    caption = (
        "Every panel starts at the unchanged test images (dashed) and goes on to stronger changes; bands are 95 % "
        "Wilson intervals. FGSM moves every pixel, in [0, 1], by ε in the direction that harms the model most."
    )
    with drawing(path, max(6.5, 2.9 * len(kinds)), 3.3, title, caption) as (figure, _):
        panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            name, unit = _KINDS.get(kind, (kind, "strength"))
            for direction, curve in table[table["kind"] == kind].groupby("direction", sort=False):
                colour, marker = _DIRECTIONS[direction]
                strength = curve["strength"]
                axes.fill_between(strength, curve["ci_low"], curve["ci_high"], color=colour, alpha=0.15, linewidth=0)
                axes.plot(strength, curve["accuracy"], marker=marker, markersize=4, color=colour, label=direction)
            if kind == "shift":
                axes.legend(fontsize=SMALL)
            axes.axhline(clean, color=QUIET, linestyle="--", linewidth=1, zorder=0)
            axes.set(title=name, xlabel=unit, ylim=(0, 1.02))
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=kind == "shift", steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.grid(axis="y")
        panels[0].set_ylabel("accuracy")
        panels[0].yaxis.set_major_formatter(percent_tick)
