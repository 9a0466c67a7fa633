"""Draw how a search went, where the good values lie, and what the confirmation says.

Optuna's own pictures and importances leave out pruned trials, and one bad trial squeezes all others. Here pruned ones
count as bad. MLflow draws the curves of all trials by epoch.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import optuna
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, create_trial

from src.figures.style import BLUE, GREEN, ORANGE, QUIET, VERMILLION, drawing, only_bottom, percent, percent_tick
from src.search.confirm import COVERS, Confirmed, verdict
from src.search.objectives import Objective
from src.search.plan import Plan
from src.search.sampling import Space
from src.search.trial_results import state
from src.tracking.identity import text

_COLOURS = {"complete": BLUE, "pruned": ORANGE, "failed": VERMILLION}
_MARKERS = {"complete": "o", "pruned": "v", "failed": "x"}
_MAP = "viridis"
_RANKED = 10  # trials, to compute importances from the best tenth
_FAR = "as does what is far worse than the middle of the complete ones"


def draw_all(folder: Path, plan: Plan, trials: Sequence[FrozenTrial], rows: Sequence[Confirmed]) -> list[Path]:
    """Write the pictures that these trials allow into `folder`, and remove those that were there.

    Return their paths in the order of the page.
    """
    for stale in folder.glob("*.png"):
        stale.unlink()
    objective = plan.objective

    def pictures() -> Iterator[Path]:
        if rows:
            yield confirmation(folder / "confirmation.png", rows, objective)
        yield history(folder / "history.png", trials, objective)
        if len(plan.space) > 1 and (shares := importances(trials, objective)):
            yield importance(folder / "importance.png", shares)
        yield slices(folder / "slice.png", trials, plan.space, objective)

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


def history(path: Path, trials: Sequence[FrozenTrial], objective: Objective) -> Path:
    """Draw the objective by trial, and the best complete trial so far."""
    complete = np.array([trial.values[0] if state(trial) == "complete" else np.nan for trial in trials])
    best = (np.fmax if objective.maximize else np.fmin).accumulate(complete)
    title = f"Trials in order: the best reaches {objective.words(best[-1])} {objective.label}"
    caption = f"Pruned and failed trials stand at the edge, {_FAR}."
    with drawing(path, 8.0, 3.4, title, caption) as (figure, _):
        axes = figure.subplots()
        window, numbers = _window(trials, objective), np.array([trial.number for trial in trials])
        places = _places(trials, objective, window)
        for name, colour in _COLOURS.items():
            own = np.array([state(trial) == name for trial in trials])
            if own.any():
                marker = _MARKERS[name]
                axes.plot(numbers[own], places[own], marker, color=colour, label=name, markersize=5, clip_on=False)
        axes.step(numbers, best, where="post", color=GREEN, label="best so far")
        axes.set(xlabel="trial", ylabel=objective.label, ylim=window)
        _in_percent(axes.yaxis, objective)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y")
        axes.legend(loc="best")
    return path


def importances(trials: Sequence[FrozenTrial], objective: Objective) -> dict[str, float]:
    """Return the importance of each key, the greatest first; nothing if too few trials differ.

    Optuna would leave out pruned trials. Here they count as worse than every complete one.
    """
    ended = [trial for trial in trials if state(trial) != "failed"]
    complete = [trial.values[0] for trial in ended if state(trial) == "complete"]
    if len(ended) < _RANKED or len(set(complete)) < 2:
        return {}
    worse = min(complete) - 1 if objective.maximize else max(complete) + 1
    study = optuna.create_study(direction="maximize" if objective.maximize else "minimize")
    for trial in ended:
        value = trial.values[0] if state(trial) == "complete" else worse
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
    shown = [trial for trial in trials if trial.params.keys() >= space.keys()]
    caption = (
        "Dark trials came first, bright ones last: a sampler that learns goes where the values are good. Hollow: "
        f"pruned or failed, at the edge, {_FAR}."
    )
    columns = min(4, len(space))
    rows = -(-len(space) // columns)
    with drawing(path, 10.0, 3.0 * rows, "Every setting alone", caption) as (figure, _):
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        window, done = _window(shown, objective), np.array([state(trial) == "complete" for trial in shown])
        y = _places(shown, objective, window)
        when = matplotlib.colormaps[_MAP](np.linspace(0, 1, len(shown)))
        for axes, (key, entry) in zip(grid.flat, space.items(), strict=False):
            choices = entry.choices if isinstance(entry, CategoricalDistribution) else ()
            x = np.array([choices.index(t.params[key]) if choices else float(t.params[key]) for t in shown])
            axes.scatter(x[done], y[done], s=26, c=when[done], zorder=3, clip_on=False)
            axes.scatter(x[~done], y[~done], s=18, marker="v", facecolors="none", edgecolors=when[~done], clip_on=False)
            axes.set(xlabel=key.rpartition(".")[2], ylim=window)
            if choices:
                axes.set_xticks(range(len(choices)), [text(choice) for choice in choices])
            elif entry.log:  # type: ignore[attr-defined]
                axes.set_xscale("log")
                narrow = x.max() < 60 * x.min()  # with powers of ten alone it might have one number
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=5))
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
                axes.xaxis.set_minor_formatter(NullFormatter())
            _in_percent(axes.yaxis, objective)
            axes.grid(axis="y")
        for axes in grid[:, 0]:
            axes.set_ylabel(objective.label)
        for axes in grid.flat[len(space) :]:
            axes.set_axis_off()
    return path


def _window(trials: Sequence[FrozenTrial], objective: Objective) -> tuple[float, float]:
    """Return limits of an axis that show the better half of the complete trials well."""
    values = [trial.values[0] for trial in trials if state(trial) == "complete"]
    best, half = (max if objective.maximize else min)(values), float(np.median(values))
    room = max(abs(best - half), 1e-3) * (1 if objective.maximize else -1)
    low, high = sorted((best + 0.2 * room, half - 1.5 * room))
    return low, min(high, 1 + 0.02 * (high - low)) if objective.name == "accuracy" else high


def _places(trials: Sequence[FrozenTrial], objective: Objective, window: tuple[float, float]) -> NDArray[np.float64]:
    """Return where the trials stand in the window: by their values if they are complete, else at the worse edge."""
    worst = -np.inf if objective.maximize else np.inf
    values = [trial.values[0] if state(trial) == "complete" else worst for trial in trials]
    return np.clip(values, *window)


def _in_percent(axis: Axis, objective: Objective) -> None:
    if objective.name == "accuracy":
        axis.set_major_formatter(percent_tick)
