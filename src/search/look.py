"""What the pictures of a search have in common: how objective and values are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.figures.style import BLUE, FAINT, ORANGE, VERMILLION, percent_tick
from src.params import Scalar
from src.search.results import Objective, Result
from src.tracking.identity import text

COLOURS = {"complete": BLUE, "pruned": ORANGE, "failed": VERMILLION}
MARKERS = {"complete": "o", "pruned": "v", "failed": "x"}


@dataclass(frozen=True)
class Dimension:
    """A key of the space and how an axis shows it."""

    key: str
    log: bool
    choices: Sequence[Scalar] | None

    @classmethod
    def of(cls, key: str, entry: BaseDistribution) -> "Dimension":
        if isinstance(entry, CategoricalDistribution):
            return cls(key, False, entry.choices)
        assert isinstance(entry, FloatDistribution | IntDistribution)
        return cls(key, entry.log, None)

    @property
    def name(self) -> str:
        return self.key.rpartition(".")[2]

    def place(self, value: Scalar) -> float:
        """Where a value stands on the axis; a choice at its number."""
        if self.choices is not None:
            return float(self.choices.index(value))
        assert isinstance(value, int | float)
        return float(value)

    def places(self, results: Sequence[Result]) -> NDArray[np.float64]:
        return np.array([self.place(result.values[self.key]) for result in results])

    def even(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places by which equal steps are equally far, as the sampler sees them."""
        return np.log10(places) if self.log else places

    def words(self, even: float) -> str:
        """The value at an even place."""
        if self.choices is not None:
            return text(self.choices[round(even)])
        return f"{10**even if self.log else even:.3g}"

    def scale(self, axes: Axes, which: str) -> None:
        if self.choices is not None:
            axis = axes.xaxis if which == "x" else axes.yaxis
            axis.set_ticks(range(len(self.choices)), [text(choice) for choice in self.choices])
        elif self.log:
            (axes.set_xscale if which == "x" else axes.set_yscale)("log")
            axis = axes.xaxis if which == "x" else axes.yaxis
            axis.set_major_locator(LogLocator(numticks=5))
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(self.name) if which == "x" else axes.set_ylabel(self.name)


def dimensions(space: Mapping[str, BaseDistribution]) -> list[Dimension]:
    return [Dimension.of(key, entry) for key, entry in space.items()]


def quiet_grid(axes: Axes) -> None:
    axes.grid(axis="y", color=FAINT)
    axes.set_axisbelow(True)


def scale(axis: Axis, objective: Objective) -> None:
    if objective.name == "accuracy":
        axis.set_major_formatter(percent_tick)


def complete(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.state == "complete"]


def values_of(results: Sequence[Result]) -> NDArray[np.float64]:
    """Of points that have one (N,)."""
    return np.array([result.value for result in results], dtype=np.float64)


def window(values: NDArray[np.float64], objective: Objective) -> tuple[float, float]:
    """Limits that show the better half of the values well: what is far worse is drawn at the edge."""
    best = values.max() if objective.maximize else values.min()
    middle = float(np.median(values))
    room = max(abs(best - middle), 1e-3)
    up = 1 if objective.maximize else -1
    low, high = sorted((best + up * 0.2 * room, middle - up * 1.5 * room))
    low, high = max(low, values.min() - 0.2 * room), min(high, values.max() + 0.2 * room)
    return (low, min(high, 1 + 0.02 * (high - low))) if objective.name == "accuracy" else (low, high)
