"""Count the images that equal each other, or nearly do, and name examples for people to look at."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from src.data.prepared import SPLITS, DuplicateSets, Example
from src.data.splitting import TEST, TRAIN, VALIDATION, Indices

_EXAMPLES, _MEMBERS = 8, 6  # sets that are named, and images of each: of all others there are numbers


def duplicate_sets(
    same: Indices,
    split: NDArray[np.int8],
    position: Indices,
    labels: Indices,
    names: Sequence[str],
    without: Indices | None = None,
) -> DuplicateSets:
    """Describe the sets of two or more images that agree in `same` (N,).

    split: of each image, as `place` returns it, or −1 for what `data.limit` leaves out, which is of no interest;
    position: of each image in its split.
    without: sets whose images agree in this too are left out.
    """
    kept = np.flatnonzero(split >= 0)
    kept = kept[np.argsort(same[kept], kind="stable")]
    starts = np.flatnonzero(np.diff(same[kept], prepend=-1))
    sets = [members for members in np.split(kept, starts[1:]) if len(members) > 1] if len(kept) else []
    if without is not None:
        sets = [members for members in sets if len(set(without[members].tolist())) > 1]
    conflicting = [len(set(labels[members].tolist())) > 1 for members in sets]
    beside_train = {
        SPLITS[held_out]: sum(int((split[m] == held_out).sum()) for m in sets if TRAIN in split[m])
        for held_out in (VALIDATION, TEST)
    }
    # Sets of several splits come first, then those of several classes.
    order = sorted(range(len(sets)), key=lambda i: (len(set(split[sets[i]].tolist())) == 1, not conflicting[i]))
    examples = [
        [Example(split=SPLITS[split[i]], index=int(position[i]), name=names[i]) for i in sets[chosen][:_MEMBERS]]
        for chosen in order[:_EXAMPLES]
    ]
    return DuplicateSets(sets=len(sets), conflicting=sum(conflicting), beside_train=beside_train, examples=examples)
