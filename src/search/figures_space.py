"""Pictures of the space: where the good points lie, and which settings matter."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.tri import Triangulation

from src.figures.style import BLUE, FAINT, drawing, only_bottom, percent, percent_tick
from src.search.look import Dimension, Objective, quiet_grid, window
from src.search.results import Result

_MAP = "viridis"
_PAIRS = 6  # contour plots


def importance(path: Path, shares: Mapping[str, float]) -> None:
    """Share of the difference between good and other points that each key explains."""
    most = max(shares, key=lambda key: shares[key])
    title = f"Which settings matter: {most} most, {percent(shares[most])}"
    caption = (
        "PED-ANOVA (Watanabe and others, 2023): how differently the values of the best tenth are spread from those of "
        "all points. Few points give rough shares."
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
    values, numbers = _values(results), np.array([result.number for result in results])
    title = "Every setting alone"
    caption = "Dark points came first, bright ones last: a sampler that learns goes where the values are good."
    with drawing(path, 10.0, 3.0 * (1 + (len(space) - 1) // 4), title, caption) as (figure, _):
        rows = 1 + (len(space) - 1) // 4
        grid = figure.subplots(rows, min(4, len(space)), sharey=True, squeeze=False)
        limits = window(values, objective)
        for axes, entry in zip(grid.flat, space, strict=False):
            axes.scatter(entry.places(results), np.clip(values, *limits), c=numbers, cmap=_MAP, s=18)
            entry.scale(axes, "x")
            axes.set_ylim(limits)
            objective.scale(axes, "y")
            quiet_grid(axes)
        for axes in grid[:, 0]:
            axes.set_ylabel(objective.label)
        for axes in list(grid.flat)[len(space) :]:
            axes.set_axis_off()


def contour(path: Path, results: Sequence[Result], space: Sequence[Dimension], objective: Objective) -> None:
    """The objective over pairs of keys, between the points interpolated on the triangles of their neighbours."""
    values = _values(results)
    limits = window(values, objective)
    pairs = list(combinations(space, 2))[:_PAIRS]
    rows = 1 + (len(pairs) - 1) // 3
    caption = f"Colour: {objective.label}. Between the points, which are marked, it is only interpolated."
    with drawing(path, 10.0, 3.1 * rows, "Settings in pairs", caption) as (figure, _):
        grid = figure.subplots(rows, min(3, len(pairs)), squeeze=False)
        for axes, (across, up) in zip(grid.flat, pairs, strict=False):
            x, y = across.places(results), up.places(results)
            if _spread(across.even(x), up.even(y)):
                triangles = _triangles(across.even(x), up.even(y))
                axes.tricontourf(
                    Triangulation(x, y, triangles), np.clip(values, *limits), levels=np.linspace(*limits, 13), cmap=_MAP
                )
            drawn = axes.scatter(
                x, y, c=np.clip(values, *limits), cmap=_MAP, norm=Normalize(*limits), s=22, edgecolors="white"
            )
            across.scale(axes, "x")
            up.scale(axes, "y")
        for axes in list(grid.flat)[len(pairs) :]:
            axes.set_axis_off()
        bar = figure.colorbar(drawn, ax=grid.ravel().tolist(), fraction=0.03)
        if objective.name == "accuracy":
            bar.ax.yaxis.set_major_formatter(percent_tick)


def parallel(path: Path, results: Sequence[Result], space: Sequence[Dimension], objective: Objective) -> None:
    """A line for each point through its values and its objective."""
    values = _values(results)
    limits = window(values, objective)
    caption = "A line is a point of the space; the brighter, the better. Every axis has its own scale."
    with drawing(path, 9.0, 3.6, "Settings together", caption) as (figure, _):
        columns = [np.clip(values, *limits), *(entry.even(entry.places(results)) for entry in space)]
        scaled = np.stack([_unit(column) for column in columns], axis=1)  # (points, axes)
        good = _unit(columns[0]) if objective.maximize else 1 - _unit(columns[0])
        axes = figure.subplots()
        for place in np.argsort(good):
            axes.plot(scaled[place], color=_colour(good[place]), linewidth=1.1, alpha=0.8)
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


def _values(results: Sequence[Result]) -> np.ndarray:
    return np.array([result.value for result in results], dtype=np.float64)


def _unit(column: np.ndarray) -> np.ndarray:
    spread = np.ptp(column)
    return (column - column.min()) / spread if spread else np.full(len(column), 0.5)


def _colour(share: float) -> tuple[float, float, float, float]:
    import matplotlib

    return matplotlib.colormaps[_MAP](float(share))


def _spread(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether the points span an area: triangles need one."""
    points = np.unique(np.stack([_unit(x), _unit(y)], axis=1), axis=0)
    return len(points) > 3 and np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-6) == 2


def _triangles(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Delaunay's, in the scale that is drawn."""
    from scipy.spatial import Delaunay

    return np.asarray(Delaunay(np.stack([_unit(x), _unit(y)], axis=1)).simplices)
