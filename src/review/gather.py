"""Two revisions → everything that a reviewer is told about them, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas

from src.addresses import without_credentials
from src.comparison import Comparison, Verdict, compare, obstacle
from src.data.prepared import SplitName, array_paths
from src.faults import Fault
from src.params import parse
from src.paths import DATASET, LOCK, METRICS, MODEL, PARAMS, PREDICTIONS, RAW, SEEDS, VALIDATION_PREDICTIONS
from src.review import changes
from src.review.changes import Change, CodeChange
from src.review.stale import leads_to, stale
from src.revision import Revision, locks, recorded
from src.significance import ALPHA, EQUIVALENCE_LEVEL, welch
from src.tracking.identity import recipe_digest
from src.tracking.lookup import find_run
from src.tracking.store import tracking_uri

_FEWEST_SEEDS = 3
_ANSWERS: Mapping[SplitName, Path] = {"validation": VALIDATION_PREDICTIONS, "test": PREDICTIONS}


@dataclass(frozen=True)
class Side:
    name: str
    commit: str | None
    model_md5: str | None
    run: str | None  # address of its MLflow run, where a server has one
    show: str | None  # the command that shows its run
    stale: dict[str, list[str]]  # by stage: what dvc.lock was not made with
    numbers_stale: bool
    damaged: dict[str, str]  # by file: why it was taken for missing


@dataclass(frozen=True)
class Answers:
    """The models' answers to the images of one split; `comparison` is None where there is an obstacle."""

    comparison: Comparison | None
    obstacle: str | None
    prepared_otherwise: bool  # the same photos at another size, for instance


@dataclass(frozen=True)
class Recipes:
    """Trainings of both recipes with several seeds, by validation accuracy."""

    base: tuple[float, ...]
    head: tuple[float, ...]
    difference: float  # of the means, head − base
    low: float  # 95 %, Welch
    high: float
    equivalence: tuple[float, float]  # 90 %
    p: float
    verdict: Verdict


@dataclass(frozen=True)
class Review:
    base: Side
    head: Side
    verdict: Verdict | None  # on validation; None: not comparable
    same_model: bool
    margin: float  # a share of 1
    margin_from: Literal["base", "head"]
    validation: Answers
    test: Answers
    judged: int  # distinct models that this test set has judged, as far as git's history tells
    recipes: Recipes | None
    recipes_obstacle: str | None
    metrics: list[Change]
    parameters: list[Change]
    data: list[Change]
    code: list[CodeChange]
    packages: list[Change]
    environment: list[Change]


def review(base: Revision, head: Revision) -> Review:
    """Raises `Fault` where neither revision has a margin, or a file is damaged."""
    margin, margin_from = _margin(base, head)
    answers = {split: _answers(base, head, split, margin) for split in _ANSWERS}
    validation, test = answers["validation"], answers["test"]
    recipes, recipes_obstacle = _recipes(base, head, margin)
    same = base.model_md5 is not None and base.model_md5 == head.model_md5
    verdict = validation.comparison.verdict if validation.comparison else None
    differing = {
        "metrics": changes.metrics(base, head, [split for split, found in answers.items() if not found.comparison]),
        "parameters": changes.parameters(base, head),
        "data": changes.data(base, head),
        "packages": changes.packages(base, head),
        "environment": changes.environment(base, head),
    }
    return Review(
        # After all that reads them: a side tells what of it is damaged.
        base=_side(base),
        head=_side(head),
        # A model is what it is, however few images there are to tell.
        verdict="equivalent" if same and verdict is not None else verdict,
        same_model=same,
        margin=margin,
        margin_from=margin_from,
        validation=validation,
        test=test,
        judged=_judged(head),
        recipes=recipes,
        recipes_obstacle=recipes_obstacle,
        code=changes.code(base, head),
        **differing,
    )


def _margin(base: Revision, head: Revision) -> tuple[float, Literal["base", "head"]]:
    """The base's: a change must not widen what it is measured by."""
    sides: Sequence[tuple[Revision, Literal["base", "head"]]] = ((base, "base"), (head, "head"))
    for revision, side in sides:
        section = revision.params.get("report")
        points: Any = section.get("margin") if isinstance(section, Mapping) else None
        if points is not None:
            if not isinstance(points, (int, float)) or not 0 < points < 100:
                raise Fault(f"{PARAMS} of {revision.name}: report.margin is {points!r}: must be between 0 and 100")
            return points / 100, side
    raise Fault(f"{PARAMS} of {head.name}: report.margin is missing: how many percentage points count as equal?")


def _side(revision: Revision) -> Side:
    found = stale(revision)
    md5 = revision.model_md5
    uri = tracking_uri()
    run = find_run(md5) if md5 and uri.startswith(("http://", "https://")) else None
    page = f"/#/experiments/{run.experiment_id}/runs/{run.id}?workflowType=machine_learning" if run else ""
    return Side(
        name=revision.name,
        commit=revision.commit,
        model_md5=md5,
        run=without_credentials(uri).rstrip("/") + page if run else None,
        show=f"python -m src.track show {md5}" if md5 else None,
        stale=found,
        numbers_stale=any(leads_to(stage, METRICS, revision.pipeline) for stage in found),
        damaged={path.as_posix(): reason for path, reason in revision.damaged.items()},
    )


def _answers(base: Revision, head: Revision, split: SplitName, margin: float) -> Answers:
    path = _ANSWERS[split]
    before, after = _read(base, path), _read(head, path)
    if before is None or after is None:
        return Answers(None, f"the {'base' if before is None else 'head'} has no {path}", False)
    reason = obstacle(before, after)
    images = array_paths(split)[0]
    same_arrays, same_source = (
        base.output(path).get("md5") == head.output(path).get("md5") is not None for path in (images, RAW)
    )
    if reason is None and not same_arrays and not same_source:
        reason = f"other images under the same names ({LOCK} has another digest of {images} and of {RAW})"
    if reason is not None:
        return Answers(None, reason, False)
    return Answers(compare(before, after, margin), None, not same_arrays)


def _read(revision: Revision, path: Path) -> pandas.DataFrame | None:
    """A table of answers. Raises `Fault` where it is not whole, as amid a merge."""
    table = revision.table(path, "index", "name", "label", "prediction", "label_probability")
    if table is None:
        return None
    for whole, what in (
        (table["label_probability"].between(0, 1), "probability of its label"),
        (table["index"] == table.index, "index that counts the rows"),
    ):
        if not whole.all():
            row = int((~whole).to_numpy().argmax())
            revision.refuse(path, f"is damaged (row {row + 2} has no {what})", "run dvc repro")
            return None
    return table


def _judged(head: Revision) -> int:
    images = array_paths("test")[0]
    every = [*locks().values(), head.text(LOCK)]
    now = recorded(every[-1], "evaluate", images)
    models = {recorded(lock, "evaluate", MODEL) for lock in every if recorded(lock, "evaluate", images) == now}
    return len(models - {None}) if now else 0


def _recipes(base: Revision, head: Revision, margin: float) -> tuple[Recipes | None, str | None]:
    """Nothing where a side has too few seeds, or where both have the same: equal recipes need no comparison."""
    sides = []
    for revision in (base, head):
        table = revision.table(SEEDS, "recipe", "validation_accuracy")
        if table is None:
            return None, None
        try:
            recipe = parse(revision.text(PARAMS), PARAMS.as_posix())
        except Fault as fault:
            return None, f"{revision.name}: the present code cannot read its recipe ({fault})"
        rows = table["recipe"] == recipe_digest(recipe, str(revision.output(DATASET).get("md5")))
        sides.append(table.loc[rows, "validation_accuracy"].dropna().to_numpy(dtype=np.float64))
    before, after = sides
    if min(len(before), len(after)) < _FEWEST_SEEDS or np.array_equal(before, after):
        return None, None
    if not (np.ptp(before) or np.ptp(after)):
        return None, "seeds make no difference on either side: there is no spread to hold a difference against"
    p, low, high = welch(before, after)
    equivalence = welch(before, after, EQUIVALENCE_LEVEL)[1:]
    difference = float(after.mean() - before.mean())
    verdict: Verdict = "no evidence"
    if p <= ALPHA:
        verdict = "better" if difference > 0 else "worse"
    elif -margin < equivalence[0] and equivalence[1] < margin:
        verdict = "equivalent"
    return Recipes(tuple(before.tolist()), tuple(after.tolist()), difference, low, high, equivalence, p, verdict), None
