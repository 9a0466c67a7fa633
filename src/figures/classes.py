"""Results by class on the test images: confusion matrix and accuracy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from src.figures.style import (
    QUIET,
    SMALL,
    SPLIT_COLOURS,
    drawing,
    in_percent,
    only_bottom,
    percent,
    percent_tick,
    short,
)

_MOST_CELLS = 20  # classes in a confusion matrix whose numbers can still be read
_MOST_CLASSES = 40


def confusion_matrix(path: Path, confusion: pandas.DataFrame, classes: Sequence[str]) -> None:
    """Draw a confusion matrix from `label,prediction,count`: counts, and their shares of the row in percent and colour.

    Of more than 20 classes, the 20 with the most mistakes are shown, and a column for all other predictions.
    """
    square = confusion.pivot(index="label", columns="prediction", values="count")
    counts = square.reindex(index=list(classes), columns=list(classes)).fillna(0).to_numpy(np.int64)
    order = np.arange(len(classes))
    title = f"Confusion matrix: {counts.trace():,} of {counts.sum():,} test images right"
    if len(classes) > _MOST_CELLS:
        mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
        order = np.sort(np.argsort(-mistakes, kind="stable")[:_MOST_CELLS])
        title += f"; the {_MOST_CELLS} of {len(classes)} classes with the most mistakes"
    shown = counts[np.ix_(order, order)]
    columns = [short(classes[index], 20) for index in order.tolist()]
    if len(order) < len(classes):
        shown = np.column_stack([shown, counts[order].sum(axis=1) - shown.sum(axis=1)])
        columns.append("all others")
    caption = (
        "Rows: the true class. Columns: what it was taken for; the diagonal is right. Numbers are images, and below "
        "them which share of the row; an empty cell is none. Colour is the share, on a scale that lets rare mistakes "
        "be seen."
    )
    ratios = shown / np.maximum(1, shown.sum(axis=1, keepdims=True))
    shares = np.vectorize(in_percent, otypes=[object])(ratios)
    ratios[:, len(order) :] = 0  # "all others" is no class: without colour
    cell = min(1.2, max(0.5, 4.0 / len(columns)))
    labels = 0.075 * max(map(len, columns))
    level = labels < cell  # those below stand level, where there is room
    width, height = cell * len(columns) + labels + 1.7, cell * len(order) + (0.1 if level else labels) + 0.7
    with drawing(path, width, height, title, caption) as (figure, _):
        axes = figure.subplots()
        picture = axes.imshow(ratios, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="equal")
        for row, column in np.argwhere(shown):
            colour = "white" if ratios[row, column] > 0.4 else "black"
            text = f"{shown[row, column]:,}\n{shares[row, column]} %"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=SMALL)
        axes.set_xticks(range(len(columns)), columns, fontsize=SMALL, rotation=0 if level else 90)
        axes.set_yticks(range(len(order)), columns[: len(order)], fontsize=SMALL)
        axes.set(xlabel="predicted", ylabel="true")
        axes.tick_params(length=0)
        # Thin white lines between the cells.
        axes.hlines(np.arange(1, len(order)) - 0.5, -0.5, len(columns) - 0.5, color="white", linewidth=1)
        axes.vlines(np.arange(1, len(columns)) - 0.5, -0.5, len(order) - 0.5, color="white", linewidth=1)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(picture, ax=axes, shrink=0.8, pad=0.02, fraction=0.05, aspect=30)
        bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1])
        bar.set_label("share of the row")
        bar.ax.yaxis.set_major_formatter(percent_tick)
        bar.outline.set_visible(False)


def per_class_accuracy(path: Path, per_class: pandas.DataFrame) -> None:
    """Draw the accuracy of each class with its interval, from `reports/per_class.csv`; the best is on top."""
    tested = per_class[per_class["images"] > 0].sort_values("accuracy", ascending=False, kind="stable")
    overall = tested["correct"].sum() / max(1, tested["images"].sum())
    title = "Accuracy by class"
    if len(tested) > _MOST_CLASSES:
        title += f": the {_MOST_CLASSES} lowest of {len(tested)}"
    shown = tested.tail(_MOST_CLASSES)
    caption = "Dots: accuracy on the test images of a class. Lines: 95 % Wilson interval. Dashed: all test images."
    if untested := len(per_class) - len(tested):
        caption += f" {untested} classes have no test images." if untested > 1 else " One class has no test images."
    with drawing(path, 8.0, 0.7 + 0.22 * max(4, len(shown)), title, caption) as (figure, _):
        axes = figure.subplots()
        rows = np.arange(len(shown))
        axes.hlines(rows, shown["ci_low"], shown["ci_high"], color=SPLIT_COLOURS["test"], linewidth=2, alpha=0.5)
        axes.plot(shown["accuracy"], rows, "o", color=SPLIT_COLOURS["test"], markersize=5, clip_on=False)
        axes.axvline(overall, color=QUIET, linestyle="--", linewidth=1, zorder=0)
        for row, (correct, images) in enumerate(zip(shown["correct"], shown["images"], strict=True)):
            beside: dict[str, Any] = {"va": "center", "fontsize": SMALL, "transform": axes.get_yaxis_transform()}
            axes.text(1.09, row, percent(correct / images, 1), ha="right", **beside)
            axes.text(1.11, row, f"{correct:,} of {images:,}", **beside)
        axes.set_yticks(rows, [short(name, 28) for name in shown["class"]], fontsize=SMALL)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(max(0, np.floor(10 * shown["ci_low"].min()) / 10), 1.005)
        low, high = axes.get_xlim()
        side: Literal["left", "right"] = "right" if overall > (low + high) / 2 else "left"
        note = f" all test images: {percent(overall, 1)} "
        axes.text(overall, 1.0, note, ha=side, va="bottom", color=QUIET, transform=axes.get_xaxis_transform())
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(percent_tick)
        axes.grid(axis="x")
        only_bottom(axes)
