"""The learning curves of a training, by epoch and by step."""

from pathlib import Path

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from src.figures.style import FAINT, QUIET, SPLIT_COLOURS, drawing, percent, percent_tick

_LINES = {"train": "--", "validation": "-"}  # distinguished without colour
_ERRORS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # ticks
_LEAST_ERROR = _ERRORS[0]


def learning_curves(path: Path, history: pandas.DataFrame, kept_epoch: int) -> None:
    """Draw loss, accuracy and learning rate from the columns of `reports/history.csv`; mark `kept_epoch`.

    Without validation images its columns are empty, and only training is drawn.
    """
    validated = bool(history["validation_accuracy"].notna().any())
    kept = history[history["epoch"] == kept_epoch].iloc[0]
    which, name = ("validation", "validation") if validated else ("train", "training")
    title = f"Learning curves: {percent(kept[f'{which}_accuracy'], 1)} {name} accuracy"
    caption = (
        f"The dotted line marks epoch {kept_epoch}, whose weights were kept. Training values are taken during the "
        "epoch, with augmentation and dropout, so they may be worse than validation. Training loss is the one that "
        "train.loss names, validation loss always cross entropy, in nats. Where validation loss turns up while "
        "training loss goes on down, the network learns its training images by heart."
        if validated
        else f"There are no validation images: the weights of the last epoch ({kept_epoch}) were kept. The loss is the "
        "one that train.loss names."
    )
    with drawing(path, 10.0, 3.4, title, caption) as (figure, _):
        loss, accuracy, rate = figure.subplots(1, 3, width_ratios=[3, 3, 1.6])
        for axes, quantity in (loss, "loss"), (accuracy, "accuracy"):
            for split in ("train", "validation") if validated else ("train",):
                _line(axes, history, f"{split}_{quantity}", SPLIT_COLOURS[split], _LINES[split], split)
            axes.plot(kept_epoch, kept[f"{which}_{quantity}"], "o", markersize=6, color=SPLIT_COLOURS[which])
        loss.set_title("Loss")
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
            axes.axvline(kept_epoch, color=QUIET, linestyle=":", linewidth=1, zorder=0)
        loss.legend(loc="best")


def error_by_step(path: Path, steps: pandas.DataFrame) -> None:
    """Draw error rates within the epochs, from the columns of `reports/steps.csv`."""
    validated = bool(steps["validation_error"].notna().any())
    which, name = ("validation", "validation") if validated else ("train", "training")
    last = steps[f"{which}_error"].dropna().iloc[-1]
    title = f"Error rate by step: {percent(last, 1)} of the {name} images at the last record"
    caption = (
        "A step is one batch. The early part, in which most is learned, is hidden in a curve by epoch. Lower is "
        "better; the scale is logarithmic, so equal distances are equal ratios. Vertical lines: last records of epochs."
    )
    with drawing(path, 10.0, 3.6, title, caption) as (figure, _):
        axes = figure.subplots()
        ends = steps.groupby("epoch")["step"].max().to_numpy()
        if len(ends) <= 60:
            axes.vlines(ends, 0, 1, transform=axes.get_xaxis_transform(), color=FAINT, linewidth=0.6, zorder=0)
        for split in ("train", "validation") if validated else ("train",):
            known = steps[steps[f"{split}_error"].notna()]
            # An error of 0 has no place on a logarithmic scale: it stands at the bottom.
            errors = known[f"{split}_error"].clip(lower=_LEAST_ERROR)
            axes.plot(known["step"], errors, _LINES[split], color=SPLIT_COLOURS[split], label=split, linewidth=1.2)
        axes.set_yscale("log")
        smallest = max(_LEAST_ERROR, steps[["train_error", "validation_error"]].min().min())
        ticks = [tick for tick in _ERRORS if tick >= max(below for below in _ERRORS[:-1] if below <= smallest)]
        axes.set_ylim(0.95 * ticks[0], 1.05)
        axes.set_yticks(ticks, [percent_tick(tick) for tick in ticks])
        axes.set_yticks([], minor=True)
        axes.set(xlabel="step", ylabel="error rate")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(axis="y")
        axes.legend(loc="best")


def _line(axes: Axes, history: pandas.DataFrame, column: str, colour: str, style: str, name: str) -> None:
    """Draw a column by epoch."""
    epochs, values = history["epoch"].to_numpy(), history[column].to_numpy(dtype=np.float64)
    # A single epoch would be a line without length.
    marker = "." if len(epochs) <= 12 else ""
    axes.plot(epochs, values, style, marker=marker, color=colour, label=name)
