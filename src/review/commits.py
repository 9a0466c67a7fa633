"""List the runs that were committed within a change: how each differs from the base, and its verdict."""

from collections.abc import Iterator
from typing import Any

from src.core.errors import UserError
from src.core.git import checked_git
from src.core.paths import VALIDATION_PREDICTIONS
from src.review import changes
from src.review.answers import compare_split, validation_accuracy
from src.review.revision import Revision, texts

_MOST = 10


def steps(base: Revision, head: Revision) -> list[Revision]:
    """Return the last ten commits between both that have new answers to the validation images, oldest first."""
    way = f"{base.commit}..{head.commit or 'HEAD'}"
    log = checked_git("log", "-z", "--reverse", "--format=%H %s", way, "--", VALIDATION_PREDICTIONS.as_posix())
    commits = [line.partition(" ") for line in texts(log)]
    return [Revision(f"{commit[:9]} {subject}", commit) for commit, _, subject in commits[-_MOST:]]


def compare_runs(base: Revision, head: Revision, margin: float) -> Iterator[dict[str, Any]]:
    """Compare the base, and each run up to the head, with the base; yield those with answers to validation images."""
    for each in (base, *steps(base, head)):
        try:
            accuracy = validation_accuracy(each)
            comparison, parts = compare_split(base, each, "validation", margin), differs(base, each)
        except UserError:  # a file of it is damaged, which nobody can repair any more
            continue
        if accuracy is not None:
            yield {"name": each.name, "is_base": each is base, "differs": parts, "accuracy": accuracy, **comparison}


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
