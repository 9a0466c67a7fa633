"""Count the images that equal each other, or nearly do, and name examples for people to look at."""

from typing import Any

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
    names: NDArray[Any],
    without: Indices | None = None,
) -> DuplicateSets:
    """Describe the sets of two or more images that agree in `same` (N,).

    split: of each image, as `place` returns it, or −1 for what `data.limit` leaves out, which is of no interest;
    position: of each image in its split.
    without: sets whose images agree in this too are left out.
    """
    images = np.flatnonzero(split >= 0)
    images = images[np.argsort(same[images], kind="stable")]  # one set after the other
    starts = np.flatnonzero(np.diff(same[images], prepend=-1))
    sizes = np.diff(starts, append=len(images))

    def differs(column: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell for each set if its images differ in a column (N,)."""
        least, most = (find.reduceat(column[images], starts) for find in (np.minimum, np.maximum))
        differing: NDArray[np.bool_] = least < most
        return differing

    sets = np.flatnonzero((sizes > 1) & (True if without is None else differs(without)))
    divided, conflicting = differs(split)[sets], differs(labels)[sets]
    count = {which: np.add.reduceat(split[images] == which, starts, dtype=np.int64) for which in range(len(SPLITS))}
    beside = sets[count[TRAIN][sets] > 0]
    # Sets of several splits come first, then those of several classes.
    shown = sets[np.lexsort((~conflicting, ~divided))[:_EXAMPLES]]
    return DuplicateSets(
        sets=len(sets),
        conflicting=int(conflicting.sum()),
        beside_train={SPLITS[which]: int(count[which][beside].sum()) for which in (VALIDATION, TEST)},
        examples=[
            [
                Example(split=SPLITS[split[index]], index=int(position[index]), name=names[index])
                for index in images[starts[chosen] : starts[chosen] + min(_MEMBERS, sizes[chosen])]
            ]
            for chosen in shown
        ],
    )
