"""Every picture of a search that its results have something for."""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import create_trial
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from src.core.files import replacing
from src.search import figures, figures_space
from src.search.confirm import Confirmed
from src.search.look import dimensions
from src.search.plan import Search
from src.search.results import Objective, Result

_ENOUGH = 4  # points below which nothing is said about the space
_RANKED = 10  # points below which the best tenth is none


def draw_all(folder: Path, plan: Search, results: Sequence[Result], rows: Sequence[Confirmed]) -> list[Path]:
    """Writes the pictures into `folder`, in the place of those that were there, and returns them in order."""
    for stale in folder.glob("*.png"):
        stale.unlink()
    drawn = []
    for name, draw in _pictures(plan, results, rows):
        draw(folder / f"{name}.png")
        _shrink(folder / f"{name}.png")
        drawn.append(folder / f"{name}.png")
    return drawn


def _shrink(path: Path) -> None:
    """A third of the bytes, since git keeps these pictures: 128 colours, which no eye tells from all of them here."""
    with Image.open(path) as picture:
        words = PngInfo()
        for key in ("Title", "Description", "Rows"):  # for the page
            words.add_text(key, picture.info[key])
        few = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    with replacing(path) as temporary:
        few.save(temporary, "png", optimize=True, pnginfo=words)


def _pictures(
    plan: Search, results: Sequence[Result], rows: Sequence[Confirmed]
) -> Iterator[tuple[str, "partial[None]"]]:
    objective = Objective.of(plan)
    space = dimensions(plan.space)
    if rows:
        yield "confirmation", partial(figures.confirmation, rows=rows, objective=objective)
    yield "history", partial(figures.history, results=results, objective=objective)
    curves = [(result, result.curve(plan)) for result in results if result.epochs]
    yield "intermediate_values", partial(figures.intermediate, curves=curves, objective=objective)
    valued = [result for result in results if result.value is not None and result.values.keys() >= plan.space.keys()]
    if len(valued) < _ENOUGH:
        return
    if len(space) > 1 and (shares := importances(plan, valued)):
        yield "importance", partial(figures_space.importance, shares=shares)
    yield "slice", partial(figures_space.slices, results=valued, space=space, objective=objective)
    if len(space) > 1:
        yield "contour", partial(figures_space.contour, results=valued, space=space, objective=objective)
        yield "parallel_coordinates", partial(figures_space.parallel, results=valued, space=space, objective=objective)


def importances(plan: Search, results: Sequence[Result]) -> dict[str, float]:
    """By key, from the most important on; empty where too few points differ.

    Optuna looks at complete trials alone; but a pruned one says more than none: that it is worse than those.
    """
    complete = [result.value for result in results if result.state == "complete" and result.value is not None]
    if len(results) < _RANKED or len(set(complete)) < 2:
        return {}
    worse = min(complete) - 1 if plan.maximize else max(complete) + 1
    study = optuna.create_study(direction="maximize" if plan.maximize else "minimize")
    for result in results:
        value = result.value if result.state == "complete" else worse
        study.add_trial(create_trial(params=dict(result.values), distributions=dict(plan.space), value=value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        shares = optuna.importance.get_param_importances(study)
    return {key: float(share) for key, share in shares.items()}
