"""How training went, epoch by epoch."""

from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from src.figures.style import QUIET, SPLIT_COLOURS, drawing, percent, percent_tick

_LINES = {"train": "--", "validation": "-"}  # told apart without colour


def learning_curves(path: Path, history: pandas.DataFrame, kept_epoch: int) -> None:
    """Loss, accuracy and learning rate from the columns of `reports/history.csv`; `kept_epoch` is marked.

    Without validation images its columns are empty, and only training is drawn.
    """
    validated = bool(history["validation_accuracy"].notna().any())
    kept = history[history["epoch"] == kept_epoch].iloc[0]
    which = "validation" if validated else "train"
    title = (
        f"Learning curves: {percent(kept[f'{which}_accuracy'], 1)} {'validation' if validated else 'training'} accuracy"
    )
    caption = (
        f"The dotted line marks epoch {kept_epoch}, whose weights were kept. Training values are taken during the "
        "epoch, with augmentation and dropout, so they may be worse than validation. Where validation loss turns up "
        "while training loss goes on down, the network learns its training images by heart."
        if validated
        else f"There are no validation images: the weights of the last epoch ({kept_epoch}) were kept."
    )
    with drawing(path, 10.0, 3.4, title, caption) as (figure, _):
        loss, accuracy, rate = figure.subplots(1, 3, width_ratios=[3, 3, 1.6])
        for axes, quantity in (loss, "loss"), (accuracy, "accuracy"):
            for split in ("train", "validation") if validated else ("train",):
                _line(axes, history, f"{split}_{quantity}", SPLIT_COLOURS[split], _LINES[split], split)
            axes.plot(kept_epoch, kept[f"{which}_{quantity}"], "o", markersize=6, color=SPLIT_COLOURS[which])
        loss.set_title("Loss (cross entropy, nats)")
        losses = history[["train_loss", "validation_loss"]].max().max()
        loss.set_ylim(0, 1.05 * losses or 1)
        accuracy.set_title("Accuracy")
        accuracy.yaxis.set_major_formatter(percent_tick)
        rate.set_title("Learning rate")
        _line(rate, history, "lr", QUIET, "-", "")
        rate.set_ylim(0, 1.05 * history["lr"].max() or 1)
        rate.yaxis.set_major_locator(MaxNLocator(nbins=5))
        rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        for axes in loss, accuracy, rate:
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=[1, 2, 5, 10], min_n_ticks=1))
            axes.set_xlim(max(0.5, 1 - 0.03 * len(history)), 1.03 * len(history))
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            axes.axvline(kept_epoch, color=QUIET, linestyle=":", linewidth=1, zorder=0)
        loss.legend(loc="best")


def _line(axes: Axes, history: pandas.DataFrame, column: str, colour: str, style: str, name: str) -> None:
    epochs, values = history["epoch"].to_numpy(), history[column].to_numpy(dtype=np.float64)
    # A single epoch would be a line without length.
    marker = "." if len(epochs) <= 12 else ""
    axes.plot(epochs, values, style, marker=marker, color=colour, label=name)
