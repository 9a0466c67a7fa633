"""Decide which image goes to train, validation or test: pure functions of labels, names, pixel digests and a seed.

A *group* stays together: images that equal each other, pixel by pixel, images that `split.groups` calls one (a patient,
a scene), and whatever these share images with.
"""

import re
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Counts = NDArray[np.int64]

# Where the source itself puts an image. FREE: it is ours to place; those not chosen for another split are train.
FREE, VALIDATION, TEST = 0, 1, 2
_SPLITS = (FREE, VALIDATION, TEST)


class Splits(NamedTuple):
    """Indices of the images of each split, sorted."""

    train: Indices
    validation: Indices
    test: Indices
    dropped: Indices  # of a group with an image that the source puts into test (or, if not itself, into validation)


def match_groups(names: Sequence[str], pattern: str) -> tuple[list[str], int]:
    """Return the group of each image, and how many names the regular expression was not found in.

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
    """Return the indices of images with equal digests, at least two in each list."""
    found: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        found.setdefault(digest, []).append(index)
    return [indices for indices in found.values() if len(indices) > 1]


def join_groups(*keys: Sequence[Hashable]) -> Indices:
    """Return the group (0, 1, …) of each image: two images that agree in any of the keys are in one group."""
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


def split_images(
    labels: NDArray[np.int64],
    official: NDArray[np.int8],
    groups: Indices,
    validation: float,
    test: float,
    seed: int,
) -> Splits:
    """Split N images.

    `labels`, `official` (FREE, VALIDATION or TEST) and `groups` are (N,). What the source puts into test or validation
    stays there; other images of the same group are dropped. Of the FREE images `validation` and `test` are shares: of
    *all* of them, both (0.2 and 0.2 leave 0.6 for train). Each class is split in these shares, exactly up to rounding
    if every group is one image; larger groups are placed first, largest first, in the split that needs them most.
    Every split with a share above 0 gets an image of each class if its groups allow it.
    """
    strongest = np.zeros(groups.max() + 1, np.int8)
    np.maximum.at(strongest, groups, official)
    dropped = official < strongest[groups]
    split = np.where(dropped, -1, official).astype(np.int8)
    free = np.flatnonzero((official == FREE) & ~dropped)
    if len(free):
        split[free] = _place(labels[free], groups[free], (validation, test), np.random.default_rng(seed))
    train, validating, testing, out = (np.flatnonzero(split == which) for which in (*_SPLITS, -1))
    return Splits(train, validating, testing, out)


def limit(splits: Splits, labels: NDArray[np.int64], count: int, seed: int) -> Splits:
    """Keep `count` training images, stratified, and the other splits in proportion; at least one of each class."""
    if count >= len(splits.train):
        return splits
    share = count / len(splits.train)
    generator = np.random.default_rng([seed, count])
    kept: list[Indices] = []
    for indices in splits[:3]:
        present, place = np.unique(labels[indices], return_inverse=True)
        wanted = _apportion(np.bincount(place, minlength=len(present)), share, least=1)
        chosen = [generator.permutation(indices[place == label])[: wanted[label]] for label in range(len(present))]
        kept.append(np.sort(np.concatenate(chosen)) if chosen else indices)
    return Splits(kept[0], kept[1], kept[2], splits.dropped)


def _apportion(counts: Counts, share: float, least: int) -> Counts:
    """Return `share` of each count, rounded so that the sum is `share` of the sum; at least `least` of what there is.

    The largest fractions are rounded up (ties: the lower class first).
    """
    exact = counts * share
    floored = np.floor(exact + 1e-9).astype(np.int64)  # 0.29 * 100 is 28.999999999999996
    missing = round(float(counts.sum() * share)) - int(floored.sum())
    floored[np.argsort(-(exact - floored), kind="stable")[: max(missing, 0)]] += 1
    raised: Counts = np.maximum(floored, np.minimum(least, counts))
    # What a minimum added is taken from the largest, so that the sum stays (unless all are at the minimum).
    for _ in range(int(raised.sum() - floored.sum())):
        largest = int(np.argmax(raised))
        raised[largest] -= raised[largest] > least
    return raised


def _place(labels: Counts, groups: Indices, shares: tuple[float, float], generator: np.random.Generator) -> Indices:
    """Return the split of each of N images that are FREE."""
    classes, label = np.unique(labels, return_inverse=True)
    counts = np.bincount(label, minlength=len(classes))
    used = [FREE, *(which for which, share in zip((VALIDATION, TEST), shares, strict=True) if share > 0)]
    wanted = np.zeros((len(_SPLITS), len(classes)), np.int64)
    for which, share in zip((VALIDATION, TEST), shares, strict=True):
        wanted[which] = _apportion(counts, share, least=int(share > 0))
    wanted[FREE] = counts - wanted[VALIDATION] - wanted[TEST]
    split = np.full(len(labels), FREE, np.int64)
    placed = np.zeros_like(wanted)

    single = np.bincount(groups)[groups] == 1
    together = np.flatnonzero(~single)
    together = together[np.argsort(groups[together], kind="stable")]
    larger = np.split(together, np.flatnonzero(np.diff(groups[together])) + 1) if len(together) else []
    contents = [np.bincount(label[indices], minlength=len(classes)) for indices in larger]
    # Groups that hold images of each class and are not placed yet.
    left = np.bincount(label[single], minlength=len(classes)) + sum((content > 0 for content in contents), 0 * counts)
    shuffled = [(larger[number], contents[number]) for number in generator.permutation(len(larger))]
    for indices, content in sorted(shuffled, key=lambda group: -len(group[0])):
        allowed = set(used)
        for present in np.flatnonzero(content):
            # With no more groups left than splits without this class, only those may have it.
            without = {which for which in used if not placed[which, present]}
            if without and left[present] <= len(without):
                allowed = (allowed & without) or allowed
        need = (wanted - placed) @ content
        best = max(sorted(allowed), key=lambda which: need[which])
        split[indices] = best
        placed[best] += content
        left -= content > 0

    for which_class in range(len(classes)):
        # The images that are alone bring every split as near to what it wants as possible.
        indices = generator.permutation(np.flatnonzero(single & (label == which_class)))
        give = np.zeros(len(_SPLITS), np.int64)
        lacking = [which for which in used if not placed[which, which_class]]
        give[lacking[: len(indices)]] = 1
        need = np.maximum(wanted[:, which_class] - placed[:, which_class] - give, 0)
        for which in (TEST, VALIDATION):
            give[which] += min(int(need[which]), len(indices) - int(give.sum()))
        give[FREE] += len(indices) - give.sum()
        split[indices] = np.repeat(_SPLITS, give)
    return split
