"""Pictures of how a search went: its points, their curves, when they ran, and what the confirmation says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from src.figures.style import BLUE, GREEN, QUIET, drawing, only_bottom
from src.search.confirm import COVERS, Confirmed, verdict
from src.search.look import COLOURS, MARKERS, complete, quiet_grid, scale, values_of, window
from src.search.results import Objective, Result


def history(path: Path, results: Sequence[Result], objective: Objective) -> None:
    """The objective by point, and the best of the complete ones so far."""
    valued = [result for result in results if result.value is not None]
    of_complete = [result.value if result.state == "complete" else np.nan for result in valued]
    best = objective.best(np.array(of_complete, dtype=np.float64))
    title = f"Points in order: the best reaches {objective.words(best[-1])} {objective.label}"
    caption = (
        "A dot is a point of the space. A pruned one has the value of its last epoch, so it may have become better. "
        "Points far worse than the middle of the complete ones stand at the edge."
    )
    with drawing(path, 8.0, 3.4, title, caption) as (figure, _):
        axes = figure.subplots()
        limits = window(values_of(complete(valued)), objective)
        for state in COLOURS:
            numbers = [result.number for result in valued if result.state == state]
            if numbers:
                shown = np.clip([r.value for r in valued if r.state == state], *limits)
                axes.plot(numbers, shown, MARKERS[state], color=COLOURS[state], label=state, markersize=5)
        axes.step([r.number for r in valued], best, where="post", color=GREEN, label="best so far")
        axes.set(xlabel="point", ylabel=objective.label, ylim=limits)
        scale(axes.yaxis, objective)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        quiet_grid(axes)
        axes.legend(loc="best")


def intermediate(path: Path, curves: Sequence[tuple[Result, Sequence[float]]], objective: Objective) -> None:
    """The objective by epoch, a line for each point."""
    pruned = [result for result, _ in curves if result.state == "pruned"]
    spent = sum(result.epochs for result, _ in curves)
    title = f"Every trial by epoch: {len(pruned)} of {len(curves)} were stopped early"
    caption = f"All trials together took {spent:,} epochs. A line that ends in a triangle was stopped there."
    with drawing(path, 8.0, 3.6, title, caption) as (figure, _):
        axes = figure.subplots()
        for result, curve in curves:
            epochs = np.arange(1, len(curve) + 1)
            line = "-" if result.state == "complete" else "--"
            axes.plot(epochs, curve, line, color=COLOURS[result.state], linewidth=0.9, alpha=0.7)
            if result.state != "complete":
                axes.plot(epochs[-1], curve[-1], MARKERS[result.state], color=COLOURS[result.state], markersize=5)
        axes.set(xlabel="epoch", ylabel=objective.label)
        axes.set_ylim(window(np.concatenate([np.asarray(curve) for _, curve in curves]), objective))
        scale(axes.yaxis, objective)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        quiet_grid(axes)


def timeline(path: Path, results: Sequence[Result]) -> None:
    """When each point ran, a row for each worker."""
    start = min(result.began for result in results)
    minutes = [
        ((result.began - start).total_seconds() / 60, (result.ended - start).total_seconds() / 60) for result in results
    ]
    workers = sorted({result.worker for result in results})
    end = max(stop for _, stop in minutes)
    title = f"When the points ran: {len(results)} in {end:.1f} minutes by {len(workers)} processes"
    caption = "A bar is a point, from its first attempt on. Gaps: the search was stopped, or waited."
    with drawing(path, 8.0, 0.6 + 0.32 * len(workers), title, caption) as (figure, _):
        axes = figure.subplots()
        for result, (begin, stop) in zip(results, minutes, strict=True):
            row = workers.index(result.worker)
            axes.barh(row, stop - begin, left=begin, color=COLOURS[result.state], edgecolor="white", linewidth=0.5)
        axes.set_yticks(range(len(workers)), [f"process {number}" for number in range(1, len(workers) + 1)])
        axes.invert_yaxis()
        axes.set_xlabel("minutes")
        only_bottom(axes)


def confirmation(path: Path, rows: Sequence[Confirmed], objective: Objective) -> None:
    """Every training of the confirmed settings, with mean and interval."""
    shown = [row for row in rows if len(row.results)]
    caption = f"A dot is a training with another seed; the bar is the 95 % interval of the mean. {COVERS}"
    with drawing(path, 8.0, 0.6 + 0.45 * len(shown), verdict(rows, objective.name).rstrip("."), caption) as (figure, _):
        axes = figure.subplots()
        for place, row in enumerate(shown):
            colour = QUIET if row.point is None else BLUE
            axes.plot(row.results, np.full(len(row.results), place), "o", color=colour, alpha=0.45, markersize=5)
            if not np.isnan(row.low):
                axes.plot([row.low, row.high], [place + 0.22] * 2, "-", color=colour, linewidth=2)
            axes.plot(row.mean, place + 0.22, "|", color=colour, markersize=11, markeredgewidth=2.5)
        axes.set_yticks(range(len(shown)), [row.name for row in shown])
        axes.set_ylim(len(shown) - 0.45, -0.5)
        axes.set_xlabel(objective.label)
        scale(axes.xaxis, objective)
        only_bottom(axes)
