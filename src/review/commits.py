"""List the commits of a change that were run: what each differs in from the base, and what came of it."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from src.core.git import blobs
from src.core.paths import METRICS, PARAMS, VALIDATION_PREDICTIONS
from src.review import changes
from src.review.answers import accuracy, compare_split
from src.review.gate import failure
from src.review.revision import Revision, git, recipe_of, texts
from src.review.stale import leads_to, stale

_MOST = 10  # runs of a recipe


def newest_run(base: Revision, recipe: str) -> Revision:
    """Return the base, or if that is of another recipe, the newest commit before it that holds a run of this one.

    It is the base too where there is none.
    """
    if recipe in ("", base.recipe):
        return base
    commits = git("log", "--format=%H", str(base.commit), "--", VALIDATION_PREDICTIONS.as_posix()).decode().split()
    for commit, params in zip(commits, blobs([f"{commit}:./{PARAMS}" for commit in commits]), strict=True):
        if params is not None and recipe_of(params) == recipe:
            return Revision(f"{commit[:9]}, the last run of {recipe}", commit, tolerant=True)
    return base


def steps(since: Revision, head: Revision) -> dict[str, list[Revision]]:
    """Return the last ten commits of each recipe that hold new answers to the validation images, oldest first.

    They lie on the way from `since` to the head, whose recipe is the first.
    """
    way = f"{since.commit}..{head.commit or 'HEAD'}"
    found: dict[str, list[Revision]] = {head.recipe: []}
    for line in texts(git("log", "-z", "--reverse", "--format=%H %s", way, "--", VALIDATION_PREDICTIONS.as_posix())):
        commit, _, subject = line.partition(" ")
        step = Revision(f"{commit[:9]} {subject}", commit, tolerant=True)
        found.setdefault(step.recipe, []).append(step)
    return {recipe: each[-_MOST:] for recipe, each in found.items()}


def held(base: Revision, runs: Sequence[Revision], since: Revision, margin: float) -> Iterator[dict[str, Any]]:
    """Yield the base, and runs of one recipe in a change since a commit, as far as they hold answers to validation.

    Each with what it `differs` in from the base, its `accuracy` with the ends of the 95 % interval, and the
    `comparison` with the base, or the `obstacle` to it. `previous`: the base has other images, so it is with the run
    before. `failure`: why a gate must not let it pass.
    """
    for previous, each in pairwise((base, base, *runs)):
        if (found := accuracy(each, "validation")) is None:
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
    """Say which of data, parameters and code are others, as far as a model or its numbers depend on them.

    Parameters of download and split count as data, which they make.
    """
    sections = {each["name"].partition(".")[0] for each in changes.parameters(base, head)}
    kinds = {
        "data": changes.data(base, head) or sections & {"data", "split"},
        "parameters": sections & {"seed", "model", "train"},
        "code": [each for each in changes.code(base, head) if each["stages"]],
    }
    return [kind for kind, found in kinds.items() if found]
