"""The reliability diagram, which shows if the model's confidence can be trusted."""

from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator

from src.figures.style import BLUE, QUIET, SMALL, VERMILLION, drawing, percent, percent_tick


def reliability(path: Path, calibration: pandas.DataFrame) -> None:
    """Draw accuracy against confidence in equal bins, from the columns of `reports/calibration.csv`.

    There are two panels if temperature scaling was fitted: before and after.
    """
    scaled = bool(calibration["images_calibrated"].sum())
    panels = [("", "as trained"), ("_calibrated", "after temperature scaling")][: 1 + scaled]
    errors = []  # the expected calibration error: mean |accuracy − confidence|, weighted by images
    for suffix, _ in panels:
        images, accuracy, sure = (calibration[f"{name}{suffix}"] for name in ("images", "accuracy", "confidence"))
        errors.append(float((images * (accuracy - sure).abs()).sum() / max(1, images.sum())))
    title = f"Reliability: confidence is off by {100 * errors[0]:.1f} percentage points on average"
    if scaled:
        title += f", by {100 * errors[1]:.1f} after temperature scaling"
    caption = (
        "Test images are sorted into bins by the model's confidence; a bar's blue line is the share of a bin that is "
        "right. On the dashed line 80 % sure means right in 80 %; a bar below it is overconfident, above it too "
        "modest, and the hatched part is the difference. Beneath: how many images are in each bin; bars of few images "
        "mean little."
    )
    with drawing(path, 4.6 * len(panels), 4.6, title, caption) as (figure, _):
        parts = figure.subfigures(1, len(panels), squeeze=False)[0]
        for part, (suffix, name), error in zip(parts, panels, errors, strict=True):
            panel(part, calibration, suffix, f"{name}: ECE {percent(error, 1)}")


def panel(part: SubFigure, calibration: pandas.DataFrame, suffix: str, title: str) -> None:
    """Draw the columns with this suffix: accuracy by bin, and beneath it the images by bin."""
    filled = calibration[calibration[f"images{suffix}"] > 0]
    accuracy, confidence = filled[f"accuracy{suffix}"].to_numpy(), filled[f"confidence{suffix}"].to_numpy()
    left, width = filled["bin_low"].to_numpy(), (filled["bin_high"] - filled["bin_low"]).to_numpy()
    bars, counts = part.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    bars.bar(left, accuracy, width, align="edge", color=BLUE, alpha=0.8, edgecolor="white", label="accuracy")
    gap = {"align": "edge", "facecolor": "white", "edgecolor": VERMILLION, "hatch": "/////", "linewidth": 0.8}
    bars.bar(left, np.abs(confidence - accuracy), width, np.minimum(confidence, accuracy), label="difference", **gap)
    bars.hlines(accuracy, left, left + width, color=BLUE, linewidth=2.5)  # above the hatching, too
    bars.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
    bars.set(xlim=(0, 1), ylim=(0, 1.02), title=title, ylabel="accuracy")
    bars.yaxis.set_major_formatter(percent_tick)
    bars.legend(loc="upper left", fontsize=SMALL)
    bars.tick_params(axis="x", labelbottom=False)
    counts.bar(left, filled[f"images{suffix}"], width, align="edge", color=QUIET, alpha=0.7, edgecolor="white")
    counts.set(xlabel="confidence", ylabel="images")
    counts.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
    counts.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    counts.xaxis.set_major_formatter(percent_tick)
    for axes in bars, counts:
        axes.grid(axis="y")
