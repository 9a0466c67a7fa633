"""Find images that are equal, and photos that show the same picture.

Such photos are encoded again, resized, brightened, mirrored, or cropped by up to a tenth.
A difference hash (N. Krawetz, "Kind of Like That", 2013) proposes pairs, a correlation of small grey copies confirms
them. Both look at each photo whole and without its rim, since a crop moves every edge of the picture.

Different things before a plain background (products, parts, scans) are alike in both: most of the hash is background,
and outlines rule the correlation. Two images with such a background are compared by their edges instead: those of
smaller grey copies propose pairs, those of copies in colour confirm them.
How much is found, and how often in vain, is in `benchmarks/near.py`.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, pairwise, product, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.data.images import to_image
from src.data.layout import counted
from src.data.prepared import SPLITS, DuplicateSets, Example
from src.data.splitting import TEST, TRAIN, VALIDATION, Indices

RIMS = (0.0, 0.025, 0.05)  # of height and width, left out on each side
BITS = 7  # of 64 in which hashes may differ: of their four parts of 16 bits one then differs in one bit at most
PLAIN = 12  # of 255: before a plain background the four corners differ by no more
CORRELATION = 0.9  # of equal pictures: 0.97 and more with few exceptions; of others, where hashes agree: 0.8 at most
EDGES = 0.92  # correlation of the edges before plain backgrounds
SIDE, SMALLER_SIDE = 24, 16  # pixels of the copies that are correlated
LARGEST = 16  # images of a set: copies of a photo are few, what one camera sees is much
MOST_PLAIN = 2**15  # images before plain backgrounds, each of which is compared with each: a minute or two
SMALLEST = 32  # pixels; in smaller images unlike things (digits) look alike
_LENGTH = 4_000  # of the vectors that are correlated: integers, whose products float32 adds exactly up to 2**24
_COMPARED = 2**20  # hashes, and pairs of them, at a time
_BLOCK, _PART = 2**12, 2**8  # images, or pairs of them, at a time
_GREY, _COLOURED = 2**14, 2**12  # images of which vectors are kept, 7 and 40 kB each
_EXAMPLES, _MEMBERS = 8, 6  # sets that are named, and images of each: of all others there are numbers

Hashes = NDArray[np.uint64]
Vectors = NDArray[np.int16]
Pairs = Iterator[tuple[Indices, Indices]]  # some at a time: (M,), (M,)


def equal_images(digests: NDArray[np.uint8]) -> Indices:
    """Return, for each of N images, the first image with the same digest, often itself. digests: (N, 16)."""
    _, first, same = np.unique(digests.view("V16").ravel(), return_index=True, return_inverse=True)
    return first[same]


def near_duplicates(pixels: NDArray[np.uint8], equal: Indices) -> Indices:
    """Return, for each of N images (N, H, W, C), the first image that shows the same picture, often itself.

    equal: (N,), the first image with the same pixels, often itself; of those one is compared.
    Where that first one goes with a yet earlier image, the image begins a set of its own, so that no chain of
    likenesses grows through a class. Sets of more than `LARGEST` are no
    copies but frames of one scene, or things of one form: they are taken apart, and a line says so, as it does where
    too many have a plain background to be compared. Memory stays bounded; the time grows with N², though its factor is
    small.
    """
    images = np.flatnonzero(equal == np.arange(len(equal)))
    variants, plain = _hashes(pixels, images)
    compared = images[plain]
    if len(compared) > MOST_PLAIN:
        print(f"{len(compared):,} images before plain backgrounds are too many to compare: only equal ones are found")
        compared = compared[:0]

    @lru_cache(_GREY)
    def grey(image: int) -> Vectors:
        small = _small(to_image(pixels[image]).convert("L"), SIDE, SIDE).reshape(2 * len(RIMS), -1).astype(np.int64)
        return _vectors(small.shape[1] * small - small.sum(1, keepdims=True))

    @lru_cache(_COLOURED)
    def edges(image: int) -> Vectors:
        return _edges(_small(to_image(pixels[image]).convert("YCbCr"), SIDE, SIDE))

    first = np.arange(len(pixels))
    by_hash, by_edges = _near_hashes(variants, images, plain), _near_edges(pixels, compared)
    ways = chain(zip(by_hash, repeat((grey, CORRELATION))), zip(by_edges, repeat((edges, EDGES))))
    for proposed, (vectors, least) in ways:  # each pair may be proposed several times
        one, other = np.minimum(*proposed), np.maximum(*proposed)
        pairs = np.sort((one * len(pixels) + other)[one < first[other]])
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]  # `np.unique` takes ten times as long where many are equal
        for part in _parts(np.stack(np.divmod(pairs, len(pixels)), axis=1), _PART):
            part = part[part[:, 0] < first[part[:, 1]]]
            if len(part) == 0:
                continue
            one, other = (np.stack([vectors(image) for image in column]).astype(np.float32) for column in part.T)
            products = np.maximum((one[:, :1] * other).sum(2), (other[:, :1] * one).sum(2))
            same = (products >= least * _LENGTH**2).any(1)
            np.minimum.at(first, part[same, 1], part[same, 0])
    for image in np.flatnonzero(first != np.arange(len(first))):
        if first[first[image]] != first[image]:
            first[image] = image
    large = np.bincount(first, minlength=len(first)) > LARGEST
    if alike := int(large[first].sum()):
        print(
            f"{alike:,} images look alike in {counted(int(large.sum()), 'set')} of more than {LARGEST}, too many for "
            "copies: each stands alone; if they are frames of one scene, split.groups keeps them together"
        )
    first = np.where(large[first], np.arange(len(first)), first)
    return first[equal]


def _hashes(pixels: NDArray[np.uint8], images: Indices) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return hashes (2 × rims, N) of N images, of each whole first, and which have a plain background (N,)."""
    variants, plain = np.empty((2 * len(RIMS), len(images)), np.uint64), np.empty(len(images), np.bool_)
    for places in _parts(np.arange(len(images)), _BLOCK):
        grey = np.stack([_small(to_image(pixels[image]).convert("L"), 9, 8) for image in images[places]])
        # A bit for each of 8 × 8 pairs of neighbours: which is brighter.
        bits = np.packbits(grey[..., 1:] > grey[..., :-1], axis=-1).reshape(*grey.shape[:2], 8)
        variants[:, places] = bits.view(np.uint64)[..., 0].T
        plain[places] = np.ptp(grey[:, 0, ::7, ::8], axis=(1, 2)) <= PLAIN
    return variants, plain


def _near_hashes(variants: Hashes, images: Indices, plain: NDArray[np.bool_]) -> Pairs:
    """Yield pairs of images, not both plain, of which the hash of one is near a variant (2 × rims, N) of the other."""
    everything, ordinary = np.arange(len(images)), np.flatnonzero(~plain)
    for ours, theirs in ((everything, ordinary), (ordinary, np.flatnonzero(plain))):
        for one, other in _near(variants[0, ours], variants[:, theirs].ravel()):
            yield images[ours[one]], images[theirs[other % len(theirs)]]


def _near(ours: Hashes, theirs: Hashes) -> Pairs:
    """Yield the places in two arrays of hashes that differ in few bits."""
    for own, other in zip(_quarters(ours), _quarters(theirs), strict=True):
        order = np.argsort(own, kind="stable")
        starts = np.searchsorted(own[order], np.arange(2**16 + 1))
        for first, flipped in product(range(0, len(theirs), _COMPARED), (0, *(1 << bit for bit in range(16)))):
            wanted = other[first : first + _COMPARED] ^ flipped  # of each of theirs the quarter that one of ours has
            numbers = starts[wanted + 1] - starts[wanted]
            ends = np.cumsum(numbers)
            for start, end in pairwise([*np.searchsorted(ends, np.arange(0, ends[-1], _COMPARED)), len(ends)]):
                chosen = np.repeat(np.arange(start, end), numbers[start:end])
                within = np.arange(len(chosen)) + (ends[start] - numbers[start]) - (ends - numbers)[chosen]
                found = order[starts[wanted[chosen]] + within]
                near = np.bitwise_count(ours[found] ^ theirs[first + chosen]) <= BITS
                yield found[near], first + chosen[near]


def _quarters(hashes: Hashes) -> Iterator[Indices]:
    """Yield the four parts of 16 bits of hashes (N,)."""
    return (part.astype(np.int64) for part in hashes.view(np.uint16).reshape(-1, 4).T)


def _near_edges(pixels: NDArray[np.uint8], images: Indices) -> Pairs:
    """Yield pairs of images whose edges correlate in small grey copies."""

    def edges(image: int) -> Vectors:
        return _edges(_small(to_image(pixels[image]).convert("L"), SMALLER_SIDE, SMALLER_SIDE))

    for block in _parts(images, _BLOCK):
        whole = np.stack([edges(image)[0] for image in block]).astype(np.float32)
        for part in _parts(images, _PART):
            others = np.stack([edges(image) for image in part], axis=1).astype(np.float32)
            products = np.max([whole @ variant.T for variant in others], axis=0)
            one, other = np.nonzero(products >= EDGES * _LENGTH**2)
            yield block[one], part[other]


def _edges(small: NDArray[np.uint8]) -> Vectors:
    """Return vectors (N, D) of the differences between neighbours in images (N, H, W) or (N, H, W, C).

    Large ones are made smaller, to the power of 3/4: else outlines would outweigh everything within.
    """
    steps = [np.diff(small.astype(np.int64), axis=axis).reshape(len(small), -1) for axis in (1, 2)]
    differences = np.concatenate(steps, axis=1)
    roots = np.sqrt(np.abs(differences))  # roots, unlike powers, are the same on every processor
    return _vectors(np.sign(differences) * roots * np.sqrt(roots))


def _vectors(values: NDArray[Any]) -> Vectors:
    """Bring values (N, D) to one length, as integers: their products are the same on every processor."""
    lengths = np.sqrt((values.astype(np.float64) ** 2).sum(1, keepdims=True))
    vectors: Vectors = np.rint(_LENGTH * values / np.maximum(lengths, 1)).astype(np.int16)
    return vectors


def _small(image: Image.Image, width: int, height: int) -> NDArray[np.uint8]:
    """Return the image, small, without each of the rims, then its mirror images: (2 × rims, height, width[, 3])."""
    boxes = [(rim * image.width, rim * image.height, (1 - rim) * image.width, (1 - rim) * image.height) for rim in RIMS]
    small = np.stack([np.asarray(image.resize((width, height), Image.Resampling.BOX, box)) for box in boxes])
    return np.concatenate([small, small[:, :, ::-1]])


def _parts(array: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    return (array[start : start + size] for start in range(0, len(array), size))


def copies_of_train(same: Indices, split: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Tell which of N images outside of train show a picture that train has too; arguments as of `duplicate_sets`."""
    trained = np.zeros(len(same), np.bool_)
    trained[same[split == TRAIN]] = True
    copies: NDArray[np.bool_] = trained[same] & (split != TRAIN)
    return copies


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
