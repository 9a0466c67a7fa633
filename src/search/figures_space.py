"""Pictures of the space: where the good points lie, and which settings matter.

`results` are those with a value. A pruned point's is of the epoch at which it was stopped: its marker is hollow, and
what the axes show well are the complete ones.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from src.figures.style import BLUE, FAINT, drawing, only_bottom, percent, percent_tick
from src.search.look import Dimension, complete, quiet_grid, scale, values_of, window
from src.search.results import Objective, Result

_Array = NDArray[Any]
_MAP = "viridis"
_PAIRS = 6  # contour plots


def importance(path: Path, shares: Mapping[str, float]) -> None:
    """Share of the difference between good and other points that each key explains."""
    most = max(shares, key=lambda key: shares[key])
    title = f"Which settings matter: {most.rpartition('.')[2]} most, {percent(shares[most])} of the difference"
    caption = (
        "PED-ANOVA (Watanabe and others, 2023): how differently the values of the best tenth are spread from those of "
        "all points; a pruned one counts as worse than every complete one. Few points give rough shares."
    )
    with drawing(path, 8.0, 0.5 + 0.35 * len(shares), title, caption) as (figure, _):
        axes = figure.subplots()
        axes.barh(list(shares), list(shares.values()), color=BLUE, height=0.6)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="share")
        axes.xaxis.set_major_formatter(percent_tick)
        only_bottom(axes)


def slices(path: Path, results: Sequence[Result], space: Sequence[Dimension], objective: Objective) -> None:
    """The objective by the values of each key."""
    limits = window(values_of(complete(results)), objective)
    title = "Every setting alone"
    caption = (
        "Dark points came first, bright ones last: a sampler that learns goes where the values are good. Hollow: "
        "pruned, with the value of its last epoch. Points far worse than the middle of the complete ones stand at the "
        "edge."
    )
    rows = 1 + (len(space) - 1) // 4
    with drawing(path, 10.0, 3.0 * rows, title, caption) as (figure, _):
        grid = figure.subplots(rows, min(4, len(space)), sharey=True, squeeze=False)
        when = _unit(np.array([result.number for result in results]))
        for axes, entry in zip(grid.flat, space, strict=False):
            _dots(axes, entry.places(results), np.clip(values_of(results), *limits), results, _colours(when))
            entry.scale(axes, "x")
            axes.set_ylim(limits)
            scale(axes.yaxis, objective)
            quiet_grid(axes)
        for axes in grid[:, 0]:
            axes.set_ylabel(objective.label)
        for axes in list(grid.flat)[len(space) :]:
            axes.set_axis_off()


def contour(path: Path, results: Sequence[Result], space: Sequence[Dimension], objective: Objective) -> None:
    """The objective over pairs of keys, between the points interpolated on the triangles of their neighbours."""
    limits = window(values_of(complete(results)), objective)
    values = np.clip(values_of(results), *limits)
    norm = Normalize(*limits)
    pairs = list(combinations(space, 2))[:_PAIRS]
    rows = 1 + (len(pairs) - 1) // 3
    caption = (
        f"Colour: {objective.label}; what is off the scale has the colour of its end. Between the points, which are "
        "marked (hollow: pruned, with the value of its last epoch), it is only interpolated."
    )
    with drawing(path, 10.0, 3.1 * rows, "Settings in pairs", caption) as (figure, _):
        grid = figure.subplots(rows, min(3, len(pairs)), squeeze=False)
        for axes, (across, up) in zip(grid.flat, pairs, strict=False):
            x, y = across.places(results), up.places(results)
            if _spread(across.even(x), up.even(y)):
                shape = Triangulation(x, y, _triangles(across.even(x), up.even(y)))
                axes.tricontourf(shape, values, levels=np.linspace(*limits, 13), cmap=_MAP)
            _dots(axes, x, y, results, _colours(norm(values)), edge="white")
            across.scale(axes, "x")
            up.scale(axes, "y")
        for axes in list(grid.flat)[len(pairs) :]:
            axes.set_axis_off()
        bar = figure.colorbar(ScalarMappable(norm, _MAP), ax=grid.ravel().tolist(), fraction=0.03)
        scale(bar.ax.yaxis, objective)


def parallel(path: Path, results: Sequence[Result], space: Sequence[Dimension], objective: Objective) -> None:
    """A line for each point through its values and its objective."""
    limits = window(values_of(complete(results)), objective)
    caption = (
        "A line is a point of the space; the brighter, the better. Dashed: pruned, with the value of its last epoch. "
        "Every axis has its own scale; what is far worse than the middle of the complete points stands at its end."
    )
    with drawing(path, 9.0, 3.6, "Settings together", caption) as (figure, _):
        values = np.clip(values_of(results), *limits)
        columns = [values, *(entry.even(entry.places(results)) for entry in space)]
        scaled = np.stack([_unit(column) for column in columns], axis=1)  # (points, axes)
        good = _unit(values) if objective.maximize else 1 - _unit(values)
        colours = _colours(good)
        axes = figure.subplots()
        for place in np.argsort(good, kind="stable"):
            line = "-" if results[place].state == "complete" else "--"
            axes.plot(scaled[place], line, color=colours[place], linewidth=1.1, alpha=0.8)
        axes.set_xticks(range(len(columns)), [objective.label, *(entry.name for entry in space)])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.14, 1.12)
        labels = [[objective.words(limit) for limit in (columns[0].min(), columns[0].max())]]
        for entry, column in zip(space, columns[1:], strict=True):
            labels.append([entry.words(float(column.min())), entry.words(float(column.max()))])
        for place, (low, high) in enumerate(labels):
            axes.axvline(place, ymin=0.11, ymax=0.9, color=FAINT, linewidth=1, zorder=0)
            axes.text(place, -0.04, low, ha="center", va="top")
            axes.text(place, 1.04, high, ha="center", va="bottom")


def _dots(
    axes: Axes, x: _Array, y: _Array, results: Sequence[Result], colours: _Array, edge: str | None = None
) -> None:
    """Points with colours (N, 4); pruned ones hollow. edge: the colour around the others."""
    whole = np.array([result.state == "complete" for result in results])
    axes.scatter(x[~whole], y[~whole], s=18, marker="v", facecolors="none", edgecolors=edge or colours[~whole])
    axes.scatter(x[whole], y[whole], s=26, c=colours[whole], edgecolors=edge, zorder=3)


def _unit(column: _Array) -> _Array:
    spread = np.ptp(column)
    return (column - column.min()) / spread if spread else np.full(len(column), 0.5)


def _colours(shares: _Array) -> _Array:
    """(N,) from 0 to 1 → (N, 4)."""
    return np.asarray(matplotlib.colormaps[_MAP](shares))


def _spread(x: _Array, y: _Array) -> bool:
    """Whether the points span an area: triangles need one."""
    points = np.unique(np.stack([_unit(x), _unit(y)], axis=1), axis=0)
    return len(points) > 3 and np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-6) == 2


def _triangles(x: _Array, y: _Array) -> _Array:
    """Delaunay's, in the scale that is drawn."""
    from scipy.spatial import Delaunay

    return np.asarray(Delaunay(np.stack([_unit(x), _unit(y)], axis=1)).simplices)
