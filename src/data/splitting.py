"""Decide which split an image is in: a pure function of labels, contents, groups and a seed.

Images that belong together (equal or nearly equal pictures, a patient, a scene) form a *unit*, which is never divided.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError

Indices = NDArray[np.int64]
Ranks = NDArray[np.uint64]

FREE, VALIDATION, TEST = 0, 1, 2  # where the source itself puts an image; FREE: it is ours to place
TRAIN = FREE  # where FREE images remain that are not chosen for validation or test


def match_groups(names: Sequence[str], pattern: str) -> list[str]:
    """Return the group of each image, and print how many there are. Raise `UserError` if no name matches.

    The group is what the expression's first parentheses match, without parentheses the whole match. An image without
    a match is a group of its own, under its own name.
    """
    expression = re.compile(pattern)
    which = 1 if expression.groups else 0
    found = [match[which] if (match := expression.search(name)) else None for name in names]
    unmatched = found.count(None)
    if unmatched == len(names):
        raise UserError(f"split.groups: {pattern!r} is found in none of the names, such as {names[0]!r}: correct it")
    rest = f"; {unmatched:,} without a match, each its own group" if unmatched else ""
    print(f"groups: {len(set(found) - {None}):,} in {len(names) - unmatched:,} images{rest}")
    return [name if group is None else group for name, group in zip(names, found, strict=True)]


def find_units(*keys: Indices) -> Indices:
    """Return the unit of each of N images, by its first image: two that agree in any of the keys (N,) are in one unit.

    Every image takes the least index of those that it agrees with, until none changes.
    """
    least, before = np.arange(len(keys[0])), np.empty(0, np.int64)
    while not np.array_equal(least, before):
        before = least
        for key in keys:
            of_key = np.full(key.max(initial=-1) + 1, len(key))
            np.minimum.at(of_key, key, least)
            least = of_key[key]
    return least


def ranks(identities: Iterable[bytes], seed: int) -> Ranks:
    """Return a random number (N,) for each identity (an image's digest, or its group), the same for equal ones."""
    prefix = b"%d " % seed
    hashed = (int.from_bytes(hashlib.sha256(prefix + identity).digest()[:8]) for identity in identities)
    return np.fromiter(hashed, np.uint64)


def place(
    labels: Indices, official: NDArray[np.int8], units: Indices, rank: Ranks, validation: float, test: float
) -> NDArray[np.int8]:
    """Return the split (N,) of each image: TRAIN, VALIDATION or TEST.

    What the source puts into validation or test stays there. The FREE units of each class are sorted by rank: the
    first ones are test, the next ones validation, the rest train. `test` and `validation` are their shares of the
    class's FREE images, up to rounding and the size of units. So a new photo that belongs to no other moves at most two
    units of its class, one at each border. A unit counts for the class of most of its images. Of a class with fewer
    units than splits train gets the first, validation the second.
    """
    split = official.copy()
    free = np.flatnonzero(official == FREE)
    members, unit = np.unique(units[free], return_inverse=True)
    sizes = np.bincount(unit, minlength=len(members))
    # A unit has the rank of one of its images, which the rank's lower half chooses: the least of all ranks would be
    # lower the more images a unit has, and test would get most of the large ones.
    order = np.lexsort((rank[free] % 2**32, unit))
    of_unit = rank[free[order[np.cumsum(sizes) - sizes]]]
    # The commonest class of each unit: of its (unit, class) pairs the last, sorted by how many images there are.
    classes = labels.max(initial=0) + 1
    pairs, counts = np.unique(unit * classes + labels[free], return_counts=True)
    pairs = pairs[np.argsort(counts, kind="stable")]
    majority = np.empty(len(members), np.int64)
    majority[pairs // classes] = pairs % classes

    chosen = np.full(len(members), TRAIN, np.int8)
    for label in np.unique(majority):
        ours = np.flatnonzero(majority == label)
        ours = ours[np.argsort(of_unit[ours], kind="stable")]
        images = sizes[ours].sum()
        middle = np.cumsum(sizes[ours]) - sizes[ours] / 2
        tested = max(np.searchsorted(middle, test * images), int(test > 0))
        held_out = max(np.searchsorted(middle, (test + validation) * images), tested + int(validation > 0))
        held_out = min(held_out, len(ours) - 1)
        tested = max(min(tested, held_out - int(validation > 0)), 0)
        chosen[ours[:held_out]] = VALIDATION
        chosen[ours[:tested]] = TEST
    split[free] = chosen[unit]
    return split


def limit_splits(split: NDArray[np.int8], labels: Indices, rank: Ranks, count: int) -> NDArray[np.int8]:
    """Return the splits (N,) with `count` images of train, or all if it has fewer, and as large a part of the others.

    What is left out has −1.
    """
    train = int((split == TRAIN).sum())
    if count >= train:
        return split
    limited = np.full_like(split, -1)
    for which in (TRAIN, VALIDATION, TEST):
        indices = np.flatnonzero(split == which)
        kept = indices[limit(labels[indices], rank[indices], round(len(indices) * count / train))]
        limited[kept] = which
    return limited


def limit(labels: Indices, rank: Ranks, count: int) -> Indices:
    """Return the indices, sorted, of the first `count` images by rank: each class in proportion, at least one of it."""
    order = np.lexsort((rank, labels))
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    position = np.arange(len(labels)) - np.repeat(starts, sizes)
    share = np.where(position == 0, 0, (position + 0.5) / np.repeat(sizes, sizes))
    kept: Indices = np.sort(order[np.argsort(share, kind="stable")[: max(count, len(sizes))]])
    return kept
