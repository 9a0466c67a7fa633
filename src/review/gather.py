"""Gather everything that a reviewer learns about two revisions."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from src.core.errors import UserError
from src.core.git import versions
from src.core.paths import DATASET, HISTORY, LOCK, METRICS, MODEL, PARAMS, SEEDS
from src.data.prepared import split_folder
from src.params import parse
from src.params.schema import Report
from src.review import changes
from src.review.answers import compare_split
from src.review.commits import compare_runs
from src.review.gate import closed, failure
from src.review.revision import Revision
from src.review.stale import leads_to, stale
from src.stats.paired import welch
from src.stats.verdicts import EQUIVALENCE_LEVEL, verdict, without_evidence
from src.tracking.identity import recipe_digest

FEWEST_SEEDS = 3


def review(base: Revision, head: Revision, rules: Report) -> dict[str, Any]:
    """Compare two revisions, as `report.md.jinja` and `--json` show them. Raises `UserError` if the head is damaged.

    Of what is returned, `verdict` is None without a paired test on validation, and `failure` and `gate` are None if
    nothing speaks against the change. rules: the margin and the gate. Shares, and the `margin`, are of 1, not of 100.
    """
    margin = rules.margin / 100
    validation, test = (compare_split(base, head, split, margin) for split in ("validation", "test"))
    verdict = validation["comparison"] and validation["comparison"]["verdict"]
    # On other images, or on those of another recipe, accuracies of seeds cannot be compared either.
    seeds, seeds_obstacle = compare_seeds(base, head, margin) if validation["comparison"] else (None, None)
    differing: dict[str, Any] = {
        "cost": changes.cost(base, head),
        "curves": _curves(base, head),
        "metrics": changes.metrics(base, head),
        "parameters": changes.parameters(base, head),
        "data": changes.data(base, head),
        "code": changes.code(base, head),
        "packages": changes.packages(base, head),
        "environment": changes.environment(base, head),
        "commits": list(compare_runs(base, head, margin)),
    }
    # Last, since a side also names the files that were found damaged above.
    sides = {"base": _side(base, base), "head": _side(head, base)}
    lacking = validation["obstacle"] if validation["lacking"] == "head" else None
    found = failure(verdict, lacking, sides["head"]["numbers_stale"])
    return {
        **sides,
        "verdict": verdict,
        "same_model": head.has_model_of(base),
        "failure": found,
        "gate": closed(rules.fail_on, found, verdict),
        "fail_on": rules.fail_on,
        "margin": margin,
        "rules": [each for each in changes.parameters(base, head) if each["name"].startswith("report.")],
        "validation": validation,
        "test": test,
        "judged": judged_models(head),
        "seeds": seeds,
        "seeds_obstacle": seeds_obstacle,
        **differing,
    }


def _side(revision: Revision, since: Revision) -> dict[str, Any]:
    """Return a revision's model, what is `stale` by stage, and what is `damaged` by file."""
    found = stale(revision, since)
    return {
        "name": revision.name,
        "commit": revision.commit,
        "model_md5": revision.model_md5,
        "stale": found,
        "numbers_stale": leads_to(found, METRICS, revision.pipeline),
        "damaged": {path.as_posix(): reason for path, reason in revision.damaged.items()},
    }


def _curves(base: Revision, head: Revision) -> dict[str, dict[str, list[float]]]:
    """Return the curves of validation that base and head both have, by their column of `history.csv`.

    A single epoch is no curve.
    """
    tables = [revision.table(HISTORY, "epoch") for revision in (base, head)]
    found = {}
    for column in ("validation_accuracy", "validation_loss"):
        present = [table[column] for table in tables if table is not None and column in table]
        values = [pandas.to_numeric(each, errors="coerce").to_numpy(dtype=np.float64) for each in present]
        if len(values) == 2 and all(len(each) > 1 and np.isfinite(each).all() for each in values):
            found[column] = dict(zip(("base", "head"), (each.tolist() for each in values), strict=True))
    return found


def judged_models(head: Revision) -> int:
    """Count the distinct models that this test set has judged, as far as git's history tells."""
    images = split_folder("test")
    every = [*(text.decode(errors="replace") for _, text in versions(LOCK)), head.text(LOCK)]
    now = _recorded(every[-1], images)
    models = {_recorded(lock, MODEL) for lock in every if _recorded(lock, images) == now}
    return len(models - {None}) if now else 0


def _recorded(lock: str, path: Path) -> str | None:
    """Return the MD5 that the text of a `dvc.lock` has for what `evaluate` read, None if it has none.

    A YAML reader would take 50 ms for each file of a long history. DVC writes all with the same layout.
    """
    evaluate = re.search(r"^  evaluate:\n((?:    .*\n?)*)", lock, re.MULTILINE)
    pattern = rf"- path: {re.escape(path.as_posix())}\n(?:      .*\n)*?      md5: (\S+)"
    md5 = re.search(pattern, evaluate[1]) if evaluate else None
    return md5[1] if md5 else None


def seed_accuracies(revision: Revision) -> pandas.DataFrame | None:
    """Return the rows of `reports/seeds.csv` that are of this recipe, None without the file.

    Raises `UserError` if the table is damaged, or if the present code cannot read the recipe.
    """
    table = revision.table(SEEDS, "recipe", "validation_accuracy", "test_accuracy")
    if table is None:
        return None
    recipe = parse(revision.text(PARAMS), PARAMS.as_posix())
    return table[table["recipe"] == recipe_digest(recipe, str(revision.output(DATASET).get("md5")))]


def compare_seeds(base: Revision, head: Revision, margin: float) -> tuple[dict[str, Any] | None, str | None]:
    """Compare both recipes by the validation accuracies of their seeds; return that, or why it cannot be done.

    Return neither if a side has too few seeds, or if the recipes are equal, so that both have the same.
    """
    sides = []
    for revision in (base, head):
        try:
            table = seed_accuracies(revision)
        except UserError as fault:
            return None, f"{revision.name}: the present code cannot read its recipe ({fault})"
        if table is None:
            return None, None
        sides.append(table["validation_accuracy"].dropna().to_numpy(dtype=np.float64))
    before, after = sides
    if min(len(before), len(after)) < FEWEST_SEEDS or np.array_equal(before, after):
        return None, None
    p, low, high = welch(before, after)
    if np.isnan(p):
        return None, "on each side all seeds gave the same accuracy: without spread nothing can be tested"
    equivalence = welch(before, after, EQUIVALENCE_LEVEL)[1:]
    difference = float(after.mean() - before.mean())
    found = verdict(p, difference)
    return {
        "base": before.tolist(),
        "head": after.tolist(),
        "difference": difference,
        "low": low,
        "high": high,
        "equivalence": equivalence,
        "p": p,
        "verdict": without_evidence(equivalence, margin) if found == "no evidence" else found,
    }, None
