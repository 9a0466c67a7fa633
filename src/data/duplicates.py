"""Find images that are equal, and photos that show the same picture.

Such photos are encoded again, resized, brightened, mirrored, or cropped by up to a tenth.
A difference hash (N. Krawetz, "Kind of Like That", 2013) proposes pairs, a correlation of small grey copies confirms
them. Both look at each photo whole and without its rim, since a crop moves every edge of the picture. How much of it is
found, and how often in vain, is in `benchmarks/near.py`.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.data.images import to_image
from src.data.prepared import SPLITS, DuplicateSets, Example
from src.data.splitting import TEST, TRAIN, VALIDATION, Indices

RIMS = (0.0, 0.025, 0.05)  # of height and width, left out on each side
BITS = 7  # of 64 in which hashes may differ: of their four parts of 16 bits one then differs in one bit at most
CORRELATION = 0.9  # of equal pictures: 0.97 and more with few exceptions; of others, where hashes agree: 0.8 at most
SIDE = 24  # pixels of the copies that are correlated
SMALLEST = 32  # pixels; in smaller images unlike things (digits) look alike
_COMPARED = 2**20  # hashes, and pairs of them, at a time
_COPIES = 2**14  # of images that are kept, about 7 kB each
_EXAMPLES, _MEMBERS = 8, 6  # sets that are named, and images of each: of all others there are numbers

Hashes = NDArray[np.uint64]


def equal_images(digests: NDArray[np.uint8]) -> Indices:
    """Return, for each of N images, the first image with the same digest, often itself. digests: (N, 16)."""
    _, first, same = np.unique(digests.view("V16").ravel(), return_index=True, return_inverse=True)
    return first[same]


def near_duplicates(pixels: NDArray[np.uint8], equal: Indices) -> Indices:
    """Return, for each of N images (N, H, W, C), the first image that shows the same picture, often itself.

    equal: (N,), the first image with the same pixels, often itself; of those one is compared.
    Every image is compared with that first one, so that no chain of likenesses grows through a class. Memory stays
    bounded; the time grows with N², though its factor is small.
    """
    images = np.flatnonzero(equal == np.arange(len(equal)))

    @lru_cache(_COPIES)
    def copies(index: int) -> NDArray[np.float32]:
        small = np.stack(_grey(pixels[index], SIDE, SIDE)).astype(np.float32)
        small -= small.mean((1, 2), keepdims=True)
        normed: NDArray[np.float32] = small / (np.linalg.norm(small, axis=(1, 2), keepdims=True) + 1e-6)
        return normed

    def same(one: int, other: int) -> bool:
        a, b = copies(one), copies(other)
        return any(
            (whole * cropped).sum((1, 2)).max() >= CORRELATION
            for whole, cropped in ((a[0], b), (b[0], a), (a[0, :, ::-1], b), (b[0, :, ::-1], a))
        )

    first = np.arange(len(pixels))
    for one, other in images[_candidates(*_hashes(pixels, images))]:
        if first[one] == one and first[other] == other and same(one, other):
            first[other] = one
    return first[equal]


def _hashes(pixels: NDArray[np.uint8], images: Indices) -> tuple[Hashes, Hashes]:
    """Return (N,) hashes of the images, and (2 × rims × N,) of them and their mirror images without each rim."""
    plain = np.empty((len(RIMS), len(images)), np.uint64)
    mirrored = np.empty_like(plain)
    for place, image in enumerate(images):
        for rim, small in enumerate(_grey(pixels[image], 9, 8)):
            for hashes, grey in ((plain, small), (mirrored, small[:, ::-1])):
                # A bit for each of 8 × 8 pairs of neighbours: which is brighter.
                hashes[rim, place] = np.packbits(grey[:, 1:] > grey[:, :-1]).view(np.uint64)[0]
    return plain[0], np.concatenate([plain, mirrored]).ravel()


def _grey(image: NDArray[np.uint8], width: int, height: int) -> list[NDArray[np.uint8]]:
    """Return the image (H, W, C) in grey, small, without each of the rims."""
    grey = to_image(image).convert("L")
    boxes = [(rim * grey.width, rim * grey.height, (1 - rim) * grey.width, (1 - rim) * grey.height) for rim in RIMS]
    return [np.asarray(grey.resize((width, height), Image.Resampling.BOX, box)) for box in boxes]


def _candidates(whole: Hashes, variants: Hashes) -> Indices:
    """Return pairs (M, 2), sorted, of which one image's hash differs from a variant of the other in few bits."""
    count = len(whole)
    pairs = [np.empty(0, np.int64)]
    for ours, theirs in zip(_parts(whole), _parts(variants), strict=True):
        order = np.argsort(ours, kind="stable")
        starts = np.searchsorted(ours[order], np.arange(2**16 + 1))
        for first, flipped in product(range(0, len(theirs), _COMPARED), (0, *(1 << bit for bit in range(16)))):
            wanted = theirs[first : first + _COMPARED] ^ flipped  # of each variant the part that the other image has
            numbers = starts[wanted + 1] - starts[wanted]
            ends = np.cumsum(numbers)
            for start, end in pairwise([*np.searchsorted(ends, np.arange(0, ends[-1], _COMPARED)), len(ends)]):
                chosen = np.repeat(np.arange(start, end), numbers[start:end])
                within = np.arange(len(chosen)) + (ends[start] - numbers[start]) - (ends - numbers)[chosen]
                one, other = order[starts[wanted[chosen]] + within], (first + chosen) % count
                near = (np.bitwise_count(whole[one] ^ variants[first + chosen]) <= BITS) & (one != other)
                one, other = one[near], other[near]
                pairs.append(_sorted_once(np.minimum(one, other) * count + np.maximum(one, other)))
    return np.stack(np.divmod(_sorted_once(np.concatenate(pairs)), max(count, 1)), axis=1)


def _sorted_once(keys: Indices) -> Indices:
    """Return the keys, from 0 on, sorted and each once: `np.unique` takes ten times as long where many are equal."""
    keys = np.sort(keys)
    once: Indices = keys[np.diff(keys, prepend=-1) != 0]
    return once


def _parts(hashes: Hashes) -> Iterator[Indices]:
    """Yield the four parts of 16 bits of hashes (N,)."""
    return (part.astype(np.int64) for part in hashes.view(np.uint16).reshape(-1, 4).T)


def duplicate_sets(
    same: Indices,
    split: NDArray[np.int8],
    position: Indices,
    labels: Indices,
    names: NDArray[Any],
    without: Indices | None = None,
) -> DuplicateSets:
    """Count the sets of two or more images that agree in `same` (N,), and name examples for people to look at.

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
    shown = [
        images[starts[which] :][: sizes[which]] for which in sets[np.lexsort((~conflicting, ~divided))[:_EXAMPLES]]
    ]
    return DuplicateSets(
        sets=len(sets),
        conflicting=int(conflicting.sum()),
        beside_train={SPLITS[which]: int(count[which][beside].sum()) for which in (VALIDATION, TEST)},
        examples=[
            [Example(split=SPLITS[split[i]], index=int(position[i]), name=names[i]) for i in members[:_MEMBERS]]
            for members in shown
        ],
    )
