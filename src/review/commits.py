"""List the runs that were committed within a change: how each differs from the base, and its verdict."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from src.core.git import checked_git
from src.core.paths import METRICS, VALIDATION_PREDICTIONS
from src.review import changes
from src.review.answers import compare_split, validation_accuracy
from src.review.gate import failure
from src.review.revision import Revision, texts
from src.review.stale import leads_to, stale

_MOST = 10  # runs of a recipe


def newest_run(base: Revision, recipe: str) -> Revision:
    """Return the newest commit, from the base backwards, that holds a run of a recipe; the base if there is none."""
    if recipe in ("", base.recipe):
        return base
    log = checked_git("log", "--format=%H", str(base.commit), "--", VALIDATION_PREDICTIONS.as_posix())
    commits = log.decode().split()
    runs = (Revision(f"{commit[:9]}, the last run of {recipe}", commit, tolerant=True) for commit in commits)
    return next((run for run in runs if run.recipe == recipe), base)


def steps(since: Revision, head: Revision) -> dict[str, list[Revision]]:
    """Return the commits between `since` and the head that have new answers to the validation images, by recipe.

    They are the last ten of each recipe, oldest first. The head's recipe comes first.
    """
    way = f"{since.commit}..{head.commit or 'HEAD'}"
    found: dict[str, list[Revision]] = {head.recipe: []}
    answers = VALIDATION_PREDICTIONS.as_posix()
    for line in texts(checked_git("log", "-z", "--reverse", "--format=%H %s", way, "--", answers)):
        commit, _, subject = line.partition(" ")
        step = Revision(f"{commit[:9]} {subject}", commit, tolerant=True)
        found.setdefault(step.recipe, []).append(step)
    return {recipe: each[-_MOST:] for recipe, each in found.items()}


def compare_runs(base: Revision, runs: Sequence[Revision], since: Revision, margin: float) -> Iterator[dict[str, Any]]:
    """Compare the base and each run of its recipe with the base; yield those that have answers to validation images.

    A run that has other images than the base is compared with the run before it, and is marked as `previous`.
    """
    for previous, each in pairwise((base, base, *runs)):
        if (found := validation_accuracy(each)) is None:
            continue
        against, with_base = compare_split(base, each, "validation", margin), True
        if against["obstacle"] and previous is not base:
            against, with_base = compare_split(previous, each, "validation", margin), False
        if against["obstacle"] and each.recipe != base.recipe:
            against["obstacle"] = "the first run of this recipe"
        verdict = against["comparison"]["verdict"] if against["comparison"] and with_base else None
        yield {
            "recipe": each.recipe,
            "name": each.name,
            "is_base": each is base,
            "differs": differs(base, each),
            "accuracy": found,
            "previous": not with_base,
            "verdict": verdict,
            "failure": failure(verdict, None, leads_to(stale(each, since), METRICS, each.pipeline)),
            **against,
        }


def differs(base: Revision, head: Revision) -> list[str]:
    """Return which of data, parameters and code differ, as far as a model or its numbers depend on them.

    The parameters of download and split make the data, and count as data.
    """
    sections = {each["name"].partition(".")[0] for each in changes.parameters(base, head)}
    kinds = {
        "data": changes.data(base, head) or sections & {"data", "split"},
        "parameters": sections & {"seed", "model", "train"},
        "code": changes.code(base, head),
    }
    return [kind for kind, found in kinds.items() if found]
