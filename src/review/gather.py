"""Gather everything that a reviewer learns about two revisions."""

import re
from typing import Any

import numpy as np
import pandas

from src.core.errors import UserError
from src.core.git import versions
from src.core.paths import DATASET, HISTORY, LOCK, METRICS, MODEL, PARAMS, SEEDS, VALIDATION_PREDICTIONS
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
    """Compare two revisions, as `report.md.jinja` and `--json` show them. Raises `UserError` if a file is damaged.

    Of what is returned, `verdict` is None without a paired test on validation, and `failure` and `gate` are None if
    nothing speaks against the change. rules: the margin and the gate. Shares, and the `margin`, are of 1, not of 100.
    """
    margin = rules.margin / 100
    validation, test = (compare_split(base, head, split, margin) for split in ("validation", "test"))
    verdict = validation["comparison"] and validation["comparison"]["verdict"]
    # On other images, as those of another recipe, accuracies of seeds, curves and metrics cannot be compared either.
    seeds = compare_seeds(base, head, margin) if validation["comparison"] else None
    same_images = validation["comparison"] or test["comparison"]
    parameters = changes.parameters(base, head)
    sides = {"base": _side(base), "head": _side(head)}
    answered = bool(head.read([VALIDATION_PREDICTIONS]))
    found = failure(verdict, answered, sides["head"]["numbers_stale"])
    return {
        **sides,
        "verdict": verdict,
        "same_model": head.has_model_of(base),
        "failure": found,
        "gate": closed(rules.fail_on, found, verdict),
        "fail_on": rules.fail_on,
        "margin": margin,
        "rules": [each for each in parameters if each["name"].startswith("report.")],
        "validation": validation,
        "test": test,
        "judged": judged_models(head),
        "seeds": seeds,
        "cost": changes.cost(base, head),
        "curves": _curves(base, head) if same_images else {},
        "metrics": changes.metrics(base, head) if same_images else [],
        "parameters": parameters,
        "data": changes.data(base, head),
        "code": changes.code(base, head),
        "packages": changes.packages(base, head),
        "environment": changes.environment(base, head),
        "commits": list(compare_runs(base, head, margin)),
    }


def _side(revision: Revision) -> dict[str, Any]:
    """Return a revision's model, and what is `stale` by stage."""
    found = stale(revision)
    return {
        "name": revision.name,
        "commit": revision.commit,
        "model_md5": revision.model_md5,
        "stale": found,
        # Without a stage that writes the metrics, nothing leads to them, and the answers may be stale all the same.
        "numbers_stale": any(leads_to(found, path, revision.pipeline) for path in (VALIDATION_PREDICTIONS, METRICS)),
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
    """Count the distinct models that this test set has judged, as far as git's history tells.

    A YAML reader would take 50 ms for each file of a long history. DVC writes all with the same layout, in which what
    `evaluate` read comes first in its part.
    """
    images = str(head.output(split_folder("test")).get("md5"))
    every = [*(text.decode(errors="replace") for _, text in versions(LOCK)), head.text(LOCK)]
    parts = [lock.partition("\n  evaluate:\n")[2] for lock in every]
    model = re.compile(rf"- path: {re.escape(MODEL.as_posix())}\n(?:      .*\n)*?      md5: (\S+)")
    return len({found[1] for part in parts if images in part and (found := model.search(part))})


def seed_accuracies(revision: Revision) -> pandas.DataFrame | None:
    """Return the rows of `reports/seeds.csv` that are of this recipe.

    Return None without the file, or if the present code cannot read the recipe.
    """
    table = revision.table(SEEDS, "recipe", "validation_accuracy", "test_accuracy")
    if table is None:
        return None
    try:
        recipe = parse(revision.text(PARAMS), PARAMS.as_posix())
    except UserError:
        return None
    return table[table["recipe"] == recipe_digest(recipe, str(revision.output(DATASET).get("md5")))]


def compare_seeds(base: Revision, head: Revision, margin: float) -> dict[str, Any] | None:
    """Compare both recipes by the validation accuracies of their seeds.

    Return None if a side has too few seeds, if no seed differs, or if both sides have the same.
    """
    tables = [seed_accuracies(revision) for revision in (base, head)]
    sides = [table["validation_accuracy"].dropna().to_numpy(np.float64) for table in tables if table is not None]
    if len(sides) < 2 or min(map(len, sides)) < FEWEST_SEEDS:
        return None
    before, after = sides
    p, low, high = welch(before, after)
    if np.isnan(p) or np.array_equal(before, after):
        return None
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
    }
