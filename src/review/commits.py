"""List the commits of a change that were run: what each differs in from the base, and what came of it."""

from itertools import pairwise
from typing import Any

from src.core.paths import VALIDATION_PREDICTIONS
from src.review import changes
from src.review.answers import compare_split, read_answers
from src.review.revision import Revision, git, texts
from src.stats.intervals import wilson

_MOST = 10


def commits(base: Revision, head: Revision, margin: float) -> list[dict[str, Any]]:
    """Return the base, and the last ten commits on the way to the head that hold new answers to the validation images.

    Each with what it `differs` in from the base, its `accuracy` with the ends of the 95 % interval, and the
    `comparison` with the base, or the `obstacle` to it. `previous`: the base has other images, so it is with the commit
    before.
    """
    way = f"{base.commit}..{head.commit or 'HEAD'}"
    path = VALIDATION_PREDICTIONS.as_posix()
    lines = texts(git("log", "-z", f"--max-count={_MOST}", "--format=%H %s", way, "--", path))
    oldest_first = (line.partition(" ") for line in reversed(lines))
    steps = [Revision(f"{commit[:9]} {subject}", commit, tolerant=True) for commit, _, subject in oldest_first]
    found = []
    for previous, each in pairwise((base, base, *steps)):
        answers = read_answers(each, VALIDATION_PREDICTIONS)
        if answers is None or not len(answers):
            continue
        right, images = int((answers["label"] == answers["prediction"]).sum()), len(answers)
        against, with_base = compare_split(base, each, "validation", margin), True
        if against["obstacle"] and previous is not base:
            against, with_base = compare_split(previous, each, "validation", margin), False
        found.append({
            "name": each.name,
            "differs": differs(base, each),
            "accuracy": [right / images, *(float(end) for end in wilson(right, images))],
            "previous": not with_base,
            **against,
        })  # fmt: skip
    return found


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
