"""Every picture of a search that its results have something for."""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage

from src.search import figures, figures_space
from src.search.confirm import Confirmed
from src.search.look import Objective, dimensions
from src.search.plan import Search
from src.search.results import Result

_ENOUGH = 4  # points below which nothing is said about the space


def draw_all(
    folder: Path, storage: BaseStorage, plan: Search, results: Sequence[Result], rows: Sequence[Confirmed]
) -> list[Path]:
    """Writes the pictures into `folder`, in the place of those that were there, and returns them in order."""
    for stale in folder.glob("*.png"):
        stale.unlink()
    drawn = []
    for name, draw in _pictures(storage, plan, results, rows):
        draw(folder / f"{name}.png")
        drawn.append(folder / f"{name}.png")
    return drawn


def _pictures(
    storage: BaseStorage, plan: Search, results: Sequence[Result], rows: Sequence[Confirmed]
) -> Iterator[tuple[str, "partial[None]"]]:
    objective = Objective(plan.params.tune.objective, plan.maximize)
    space = dimensions(plan.space)
    if rows:
        yield "confirmation", partial(figures.confirmation, rows=rows, objective=objective)
    yield "history", partial(figures.history, results=results, objective=objective)
    curves = [(result, result.curve(plan)) for result in results if result.epochs]
    yield "intermediate_values", partial(figures.intermediate, curves=curves, objective=objective)
    valued = [result for result in results if result.value is not None and result.values.keys() >= plan.space.keys()]
    if len(valued) < _ENOUGH:
        return
    if len(space) > 1 and (shares := _importances(storage, plan)):
        yield "importance", partial(figures_space.importance, shares=shares)
    yield "slice", partial(figures_space.slices, results=valued, space=space, objective=objective)
    if len(space) > 1:
        yield "contour", partial(figures_space.contour, results=valued, space=space, objective=objective)
        yield "parallel_coordinates", partial(figures_space.parallel, results=valued, space=space, objective=objective)


def _importances(storage: BaseStorage, plan: Search) -> dict[str, float]:
    """By key, from the most important on; empty where too few complete points differ."""
    study = optuna.load_study(study_name=plan.name, storage=storage)
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if len(complete) < _ENOUGH:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        shares = optuna.importance.get_param_importances(study)
    return {key: float(share) for key, share in shares.items()}
