"""Draw how a search went, where the good values lie, and what the confirmation says.

Optuna's own pictures leave out pruned trials, and interpolate between the others. These show pruned trials too, as
triangles, with the value of their last epoch.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState, create_trial

from src.figures.style import BLUE, FAINT, GREEN, ORANGE, QUIET, VERMILLION, drawing, only_bottom, percent, percent_tick
from src.search.confirm import COVERS, Confirmed, verdict
from src.search.objectives import Objective
from src.search.plan import Plan
from src.search.sampling import Space
from src.search.trial_results import epochs, pareto_front, result, state
from src.tracking.identity import text

_COLOURS = {"complete": BLUE, "pruned": ORANGE, "failed": VERMILLION}
_MARKERS = {"complete": "o", "pruned": "v", "failed": "x"}
_MAP = "viridis"
_ENOUGH = 4  # trials, to draw the values of the space
_RANKED = 10  # trials, to compute importances from the best tenth

_Floats = NDArray[np.float64]


def draw_all(folder: Path, plan: Plan, trials: Sequence[FrozenTrial], rows: Sequence[Confirmed]) -> list[Path]:
    """Write the pictures that these trials allow into `folder`, and remove those that were there.

    Return their paths in the order of the page.
    """
    for stale in folder.glob("*.png"):
        stale.unlink()
    objective = plan.objectives[0]
    valued = [trial for trial in trials if trial.values is not None]

    def pictures() -> Iterator[Path]:
        if rows:
            yield confirmation(folder / "confirmation.png", rows, objective)
        if len(plan.objectives) > 1:
            yield front(folder / "pareto_front.png", trials, plan.objectives)
        yield history(folder / "history.png", valued, objective)
        yield intermediate(folder / "intermediate_values.png", [t for t in trials if epochs(t)], objective)
        if len(valued) < _ENOUGH:
            return
        if len(plan.space) > 1 and (shares := importances(plan, valued)):
            yield importance(folder / "importance.png", shares)
        yield slices(folder / "slice.png", valued, plan.space, objective)

    return list(pictures())


def confirmation(path: Path, rows: Sequence[Confirmed], objective: Objective) -> Path:
    """Draw every training of the confirmed settings, with mean and interval."""
    shown = [row for row in rows if len(row.results)]
    caption = f"A dot is a training with another seed; the bar is the 95 % interval of the mean. {COVERS}"
    with drawing(path, 8.0, 0.6 + 0.45 * len(shown), verdict(rows, objective).rstrip("."), caption) as (figure, _):
        axes = figure.subplots()
        for place, row in enumerate(shown):
            colour = QUIET if row.name == "present" else BLUE
            axes.plot(row.results, np.full(len(row.results), place), "o", color=colour, alpha=0.45, markersize=5)
            if not np.isnan(row.low):
                axes.plot([row.low, row.high], [place + 0.22] * 2, "-", color=colour, linewidth=2)
            axes.plot(row.mean, place + 0.22, "|", color=colour, markersize=11, markeredgewidth=2.5)
        axes.set_yticks(range(len(shown)), [row.name for row in shown])
        axes.set_ylim(len(shown) - 0.45, -0.5)
        axes.set_xlabel(objective.label)
        _in_percent(axes.xaxis, objective)
        only_bottom(axes)
    return path


def front(path: Path, trials: Sequence[FrozenTrial], objectives: Sequence[Objective]) -> Path:
    """Draw the complete trials by each pair of objectives, with the Pareto front in another colour."""
    best = pareto_front(trials, objectives)
    others = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial not in best]
    title = f"Pareto front: {len(best)} of {len(best) + len(others)} trials"
    caption = "No trial is better than one of the front in one objective and as good in the others."
    shown = list(combinations(range(len(objectives)), 2))
    with drawing(path, 8.0 if len(shown) == 1 else 10.0, 3.6, title, caption) as (figure, _):
        for axes, (x, y) in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
            axes.plot([t.values[x] for t in others], [t.values[y] for t in others], "o", color=QUIET, alpha=0.5)
            axes.plot([t.values[x] for t in best], [t.values[y] for t in best], "o", color=GREEN)
            for trial in best:
                at = trial.values[x], trial.values[y]
                axes.annotate(str(trial.number), at, xytext=(4, 4), textcoords="offset points", color=QUIET)
            axes.set(xlabel=objectives[x].label, ylabel=objectives[y].label)
            _in_percent(axes.xaxis, objectives[x])
            _in_percent(axes.yaxis, objectives[y])
            _quiet_grid(axes)
    return path


def history(path: Path, trials: Sequence[FrozenTrial], objective: Objective) -> Path:
    """Draw the objective by trial, and the best complete trial so far. All `trials` have a value."""
    values = _values(trials)
    complete = np.where([state(trial) == "complete" for trial in trials], values, np.nan)
    best = (np.fmax if objective.maximize else np.fmin).accumulate(complete)
    title = f"Trials in order: the best reaches {objective.words(best[-1])} {objective.label}"
    caption = (
        "A pruned trial has the value of its last epoch, so it may have become better. What is far worse than the "
        "middle of the complete ones stands at the edge."
    )
    with drawing(path, 8.0, 3.4, title, caption) as (figure, _):
        axes = figure.subplots()
        limits = _window(trials, objective)
        for name, colour in _COLOURS.items():
            own = np.array([state(trial) == name for trial in trials])
            if own.any():
                numbers = np.array([trial.number for trial in trials])[own]
                shown = np.clip(values[own], *limits)
                axes.plot(numbers, shown, _MARKERS[name], color=colour, label=name, markersize=5, clip_on=False)
        axes.step([trial.number for trial in trials], best, where="post", color=GREEN, label="best so far")
        axes.set(xlabel="trial", ylabel=objective.label, ylim=limits)
        _in_percent(axes.yaxis, objective)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _quiet_grid(axes)
        axes.legend(loc="best")
    return path


def intermediate(path: Path, trials: Sequence[FrozenTrial], objective: Objective) -> Path:
    """Draw the objective by epoch, a line for each trial; accuracy, if the objective has no value of an epoch."""
    of = objective if objective.name in ("accuracy", "loss") else Objective("accuracy")
    pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    title = f"Every trial by epoch: {pruned} of {len(trials)} were stopped early"
    caption = (
        f"All trials together took {sum(map(epochs, trials)):,} epochs. A dashed line that ends in a triangle was "
        "stopped there; one that ends far below the others has its triangle at the edge."
    )
    with drawing(path, 8.0, 3.6, title, caption) as (figure, _):
        axes = figure.subplots()
        curves = [np.array(result(trial)["history"][f"validation_{of.name}"]) for trial in trials]
        every = np.concatenate(curves)
        limits = _around(every, every, of)
        for trial, curve in zip(trials, curves, strict=True):
            name = state(trial)
            numbers, line = np.arange(1, len(curve) + 1), "-" if name == "complete" else "--"
            axes.plot(numbers, curve, line, color=_COLOURS[name], linewidth=0.9, alpha=0.7)
            if name != "complete":
                end = np.clip(curve[-1], *limits)
                axes.plot(numbers[-1], end, _MARKERS[name], color=_COLOURS[name], markersize=5, clip_on=False)
        axes.set(xlabel="epoch", ylabel=of.label, ylim=limits)
        _in_percent(axes.yaxis, of)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _quiet_grid(axes)
    return path


def importances(plan: Plan, trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Return the importance of each key, the greatest first; nothing if too few trials differ.

    Optuna would leave out pruned trials. Here they count as worse than every complete one.
    """
    complete = [trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE]
    if len(trials) < _RANKED or len(set(complete)) < 2:
        return {}
    maximize = plan.objectives[0].maximize
    worse = min(complete) - 1 if maximize else max(complete) + 1
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    for trial in trials:
        value = trial.values[0] if trial.state == TrialState.COMPLETE else worse
        study.add_trial(create_trial(params=trial.params, distributions=trial.distributions, value=value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return {key: float(share) for key, share in optuna.importance.get_param_importances(study).items()}


def importance(path: Path, shares: Mapping[str, float]) -> Path:
    """Draw the share of the difference between good and other trials that each key explains."""
    most = max(shares, key=lambda key: shares[key])
    title = f"Which settings matter: {most.rpartition('.')[2]} most, {percent(shares[most])} of the difference"
    caption = (
        "PED-ANOVA (Watanabe and others, 2023): how differently the values of the best tenth are spread from those of "
        "all trials; a pruned one counts as worse than every complete one. Few trials give rough shares."
    )
    with drawing(path, 8.0, 0.5 + 0.35 * len(shares), title, caption) as (figure, _):
        axes = figure.subplots()
        axes.barh(list(shares), list(shares.values()), color=BLUE, height=0.6)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="share")
        axes.xaxis.set_major_formatter(percent_tick)
        only_bottom(axes)
    return path


def slices(path: Path, trials: Sequence[FrozenTrial], space: Space, objective: Objective) -> Path:
    """Draw the objective by the values of each key."""
    limits = _window(trials, objective)
    caption = (
        "Dark trials came first, bright ones last: a sampler that learns goes where the values are good. Hollow: "
        "pruned. What is far worse than the middle of the complete trials stands at the edge."
    )
    columns = min(4, len(space))
    rows = -(-len(space) // columns)
    with drawing(path, 10.0, 3.0 * rows, "Every setting alone", caption) as (figure, _):
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        done = np.array([trial.state == TrialState.COMPLETE for trial in trials])
        when = matplotlib.colormaps[_MAP](np.linspace(0, 1, len(trials)))
        for axes, key in zip(grid.flat, space, strict=False):
            entry, y = space[key], np.clip(_values(trials), *limits)
            choices = entry.choices if isinstance(entry, CategoricalDistribution) else ()
            x = np.array([choices.index(t.params[key]) if choices else float(t.params[key]) for t in trials])
            axes.scatter(x[done], y[done], s=26, c=when[done], zorder=3, clip_on=False)
            axes.scatter(x[~done], y[~done], s=18, marker="v", facecolors="none", edgecolors=when[~done], clip_on=False)
            axes.set_xlabel(key.rpartition(".")[2])
            if choices:
                axes.set_xticks(range(len(choices)), [text(choice) for choice in choices])
            elif entry.log:  # type: ignore[attr-defined]
                axes.set_xscale("log")
                narrow = x.max() < 60 * x.min()  # with powers of ten alone it might have one number
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=5))
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_ylim(limits)
            _in_percent(axes.yaxis, objective)
            _quiet_grid(axes)
        for axes in grid[:, 0]:
            axes.set_ylabel(objective.label)
        for axes in grid.flat[len(space) :]:
            axes.set_axis_off()
    return path


def _values(trials: Sequence[FrozenTrial]) -> _Floats:
    return np.array([trial.values[0] for trial in trials], dtype=np.float64)


def _window(trials: Sequence[FrozenTrial], objective: Objective) -> tuple[float, float]:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return _around(_values(complete), _values(trials), objective)


def _around(middle: _Floats, values: _Floats, objective: Objective) -> tuple[float, float]:
    """Return limits of an axis that show the better half of `middle` well and are no wider than `values`."""
    best = values.max() if objective.maximize else values.min()
    half = float(np.median(middle))
    room = max(abs(best - half), 1e-3)
    up = 1 if objective.maximize else -1
    low, high = sorted((best + up * 0.2 * room, half - up * 1.5 * room))
    low, high = max(low, values.min() - 0.2 * room), min(high, values.max() + 0.2 * room)
    return (low, min(high, 1 + 0.02 * (high - low))) if objective.name == "accuracy" else (low, high)


def _in_percent(axis: Axis, objective: Objective) -> None:
    if objective.name == "accuracy":
        axis.set_major_formatter(percent_tick)


def _quiet_grid(axes: Axes) -> None:
    axes.grid(axis="y", color=FAINT)
    axes.set_axisbelow(True)
