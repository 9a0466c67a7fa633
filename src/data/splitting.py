"""Which image goes to train, validation or test: pure functions of labels, names, pixel digests and a seed.

Images that equal each other, pixel by pixel, and images of one group (a patient, a scene) form a *unit*, and so do
units that share an image. A unit is never divided between train, validation and test.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Counts = NDArray[np.int64]

FREE, VALIDATION, TEST = 0, 1, 2  # where the source itself puts an image; FREE: it is ours to divide
SIDES = 3  # train, validation, test; FREE images that are not chosen for another side are train


class Division(NamedTuple):
    train: Indices
    validation: Indices
    test: Indices
    dropped: Indices  # in a unit with an image that the source puts into test (or, if not itself, into validation)


def match_groups(names: Sequence[str], pattern: str) -> tuple[list[str], int]:
    """The group of each image, and how many names the regular expression was not found in.

    The group is what the expression's first parentheses match, without parentheses the whole match. An image without
    a match is a group of its own, under its own name.
    """
    expression = re.compile(pattern)
    groups: list[str] = []
    unmatched = 0
    for name in names:
        match = expression.search(name)
        text = match[1 if expression.groups else 0] if match else None
        unmatched += text is None
        groups.append(name if text is None else text)
    return groups, unmatched


def find_equal(digests: Sequence[bytes]) -> list[list[int]]:
    """Indices of images with equal digests, at least two in each list."""
    where: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        where.setdefault(digest, []).append(index)
    return [indices for indices in where.values() if len(indices) > 1]


def find_units(*keys: Sequence[Hashable]) -> Indices:
    """The unit (0, 1, …) of each image: two images that agree in any of the keys are in one unit."""
    count = len(keys[0])
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for column in keys:
        first: dict[Hashable, int] = {}
        for index, key in enumerate(column):
            parent[root(index)] = root(first.setdefault(key, index))
    roots = np.fromiter((root(index) for index in range(count)), np.int64, count)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def divide(
    labels: NDArray[np.int64],
    official: NDArray[np.int8],
    units: Indices,
    validation: float,
    test: float,
    seed: int,
) -> Division:
    """Divides N images; each result is sorted.

    `labels`, `official` (FREE, VALIDATION or TEST) and `units` are (N,). What the source puts into test or validation
    stays there. Other images of the same unit are dropped. Of the FREE images `validation` and `test` are shares:
    of *all* of them, both (0.2 and 0.2 leave 0.6 for train). Each class is divided in these shares, exactly up to
    rounding where every unit is one image; larger units are placed first, largest first, where they are needed most.
    Every side with a share above 0 gets an image of each class if its units allow it.
    """
    strongest = np.zeros(units.max() + 1, np.int8)
    np.maximum.at(strongest, units, official)
    dropped = official < strongest[units]
    side = np.where(dropped, -1, official).astype(np.int8)
    free = np.flatnonzero((official == FREE) & ~dropped)
    if len(free):
        side[free] = _place(labels[free], units[free], (validation, test), np.random.default_rng(seed))
    train, validating, testing, out = (np.flatnonzero(side == which) for which in (FREE, VALIDATION, TEST, -1))
    return Division(train, validating, testing, out)


def limit(division: Division, labels: NDArray[np.int64], count: int, seed: int) -> Division:
    """At most `count` training images, stratified, and the other sides in proportion; at least one of each class."""
    if count >= len(division.train):
        return division
    share = count / len(division.train)
    generator = np.random.default_rng([seed, count])
    sides: list[Indices] = []
    for indices in division[:SIDES]:
        present, place = np.unique(labels[indices], return_inverse=True)
        wanted = _apportion(np.bincount(place, minlength=len(present)), share, least=1)
        chosen = [generator.permutation(indices[place == label])[: wanted[label]] for label in range(len(present))]
        sides.append(np.sort(np.concatenate(chosen)) if chosen else indices)
    return Division(sides[0], sides[1], sides[2], division.dropped)


def _apportion(counts: Counts, share: float, least: int) -> Counts:
    """`share` of each count, rounded so that the sum is `share` of the sum; at least `least` of what there is.

    The largest fractions are rounded up (ties: the lower class first).
    """
    exact = counts * share
    whole = np.floor(exact + 1e-9).astype(np.int64)  # 0.29 * 100 is 28.999999999999996
    missing = round(float(counts.sum() * share)) - int(whole.sum())
    whole[np.argsort(-(exact - whole), kind="stable")[: max(missing, 0)]] += 1
    raised: Counts = np.maximum(whole, np.minimum(least, counts))
    # What a minimum added is taken from the largest, so that the sum stays (unless all are at the minimum).
    for _ in range(int(raised.sum() - whole.sum())):
        largest = int(np.argmax(raised))
        raised[largest] -= raised[largest] > least
    return raised


def _place(labels: Counts, units: Indices, shares: tuple[float, float], generator: np.random.Generator) -> Indices:
    """The side of each of N images."""
    classes, label = np.unique(labels, return_inverse=True)
    counts = np.bincount(label, minlength=len(classes))
    used = [True, shares[0] > 0, shares[1] > 0]
    wanted = np.zeros((SIDES, len(classes)), np.int64)
    for which, share in zip((VALIDATION, TEST), shares, strict=True):
        wanted[which] = _apportion(counts, share, least=int(share > 0))
    wanted[FREE] = counts - wanted[VALIDATION] - wanted[TEST]

    sizes = np.bincount(units)
    single = sizes[units] == 1
    singles = np.bincount(label[single], minlength=len(classes))
    side = np.full(len(labels), FREE, np.int64)
    placed = np.zeros_like(wanted)
    larger = [(indices, np.bincount(label[indices], minlength=len(classes))) for indices in _members(units, sizes)]
    left = singles + sum((content > 0 for _, content in larger), np.zeros(len(classes), np.int64))
    larger = [larger[number] for number in generator.permutation(len(larger))]
    for indices, content in sorted(larger, key=lambda unit: -len(unit[0])):
        allowed = _needing(content, placed, left, used)
        need = (wanted - placed) @ content
        best = max(allowed, key=lambda which: need[which])
        side[indices] = best
        placed[best] += content
        left -= content > 0
    for which_class in range(len(classes)):
        indices = generator.permutation(np.flatnonzero(single & (label == which_class)))
        side[indices] = np.repeat(np.arange(SIDES), _fill(wanted, placed, which_class, len(indices), used))
    return side


def _members(units: Indices, sizes: Counts) -> Iterator[Indices]:
    """The images of each unit with more than one."""
    order = np.argsort(units, kind="stable")
    for start, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
        if size > 1:
            yield order[start : start + size]


def _needing(content: Counts, placed: Counts, left: Counts, used: Sequence[bool]) -> list[int]:
    """The sides that a unit may go to: where a class has no more units left than sides without it, only to those."""
    allowed = {which for which in range(SIDES) if used[which]}
    for which_class in np.flatnonzero(content):
        without = {which for which in range(SIDES) if used[which] and not placed[which, which_class]}
        if without and left[which_class] <= len(without):
            allowed = (allowed & without) or allowed
    return sorted(allowed)


def _fill(wanted: Counts, placed: Counts, which_class: int, count: int, used: Sequence[bool]) -> Counts:
    """How many of `count` single images of a class go to each side, to come as near to `wanted` as possible."""
    give = np.zeros(SIDES, np.int64)
    lacking = [which for which in range(SIDES) if used[which] and not placed[which, which_class]]
    give[lacking[:count]] = 1
    need = np.maximum(wanted[:, which_class] - placed[:, which_class] - give, 0)
    for which in (TEST, VALIDATION):
        give[which] += min(int(need[which]), count - int(give.sum()))
    give[FREE] += count - give.sum()
    return give
