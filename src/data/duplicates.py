"""Find images that are equal, and photos that show the same picture.

Such photos are encoded again, resized, brightened, mirrored, or cropped by up to a tenth.
A difference hash (N. Krawetz, "Kind of Like That", 2013) proposes pairs, a correlation of small grey copies confirms
them. Both look at each photo whole and without its rim, since a crop moves every edge of the picture.

Different things before a plain background (products, parts, scans) are alike in both: most of the hash is background,
and outlines rule the correlation. Two images with such a background are compared by their edges instead: those of
smaller grey copies propose pairs, those of copies in colour confirm them.
How much is found, and how often in vain, is in `benchmarks/README.md`.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.core.words import counted
from src.data.images import to_image
from src.data.prepared import SPLITS, DuplicateSets, Example
from src.data.splitting import TEST, TRAIN, VALIDATION, Indices

RIMS = (0.0, 0.025, 0.05)  # of height and width, left out on each side
BITS = 7  # of 64, in which the hashes of a pair may differ: `_near` finds no pairs of more
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
    """Return, for each of N images (N, H, W, C), the first image of its set, often itself.

    equal: (N,), the first image with the same pixels, often itself; of those one is compared.
    Images that show the same picture are linked, and what links join is one set, whatever the order of the images. So
    a new image makes one set of those that it resembles, and changes no other.
    Sets of more than `LARGEST` are no copies but frames of one scene, or things of one form, that chain through a
    class: each of their images stands alone, and a line says so. The image that makes a set too large thus takes it
    apart. A line also says where too many images have a plain background to be compared.
    Memory stays bounded; the time grows with N², though its factor is small.
    """
    images = np.flatnonzero(equal == np.arange(len(equal)))
    hashes, plain = _hashes(pixels, images)
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
    for proposed, vectors, least in (
        (_near_hashes(hashes, images, plain), grey, CORRELATION),
        (_near_edges(pixels, compared), edges, EDGES),
    ):
        for pairs in _unique(proposed, len(pixels)):
            pairs = pairs[first[pairs[:, 0]] != first[pairs[:, 1]]]  # those of one set need no second link
            if len(pairs) == 0:
                continue
            one, other = (np.stack([vectors(image) for image in column]).astype(np.float32) for column in pairs.T)
            products = np.maximum((one[:, :1] * other).sum(2), (other[:, :1] * one).sum(2))
            for pair in pairs[(products >= least * _LENGTH**2).any(1)]:
                lower, higher = np.sort(first[pair])
                first[first == higher] = lower
    large = np.flatnonzero(np.bincount(first, minlength=len(first))[first] > LARGEST)
    if len(large):
        sets = counted(len(np.unique(first[large])), "set")
        print(
            f"{len(large):,} images look alike in {sets} of more than {LARGEST}, too many for copies: each stands "
            "alone; if they are frames of one scene, split.groups keeps them together"
        )
    first[large] = large
    return first[equal]


def _hashes(pixels: NDArray[np.uint8], images: Indices) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return hashes (2 × rims, N) of N images, of each whole first, and which have a plain background (N,)."""
    hashes, plain = np.empty((2 * len(RIMS), len(images)), np.uint64), np.empty(len(images), np.bool_)
    for places in _parts(np.arange(len(images)), _BLOCK):
        grey = np.stack([_small(to_image(pixels[image]).convert("L"), 9, 8) for image in images[places]])
        # A bit for each of 8 × 8 pairs of neighbours: which is brighter.
        bits = np.packbits(grey[..., 1:] > grey[..., :-1], axis=-1).reshape(*grey.shape[:2], 8)
        hashes[:, places] = bits.view(np.uint64)[..., 0].T
        plain[places] = np.ptp(grey[:, 0, ::7, ::8], axis=(1, 2)) <= PLAIN
    return hashes, plain


def _near_hashes(hashes: Hashes, images: Indices, plain: NDArray[np.bool_]) -> Pairs:
    """Yield pairs of images, not both plain: the hash of one as a whole is near any (2 × rims, N) of the other."""
    everything, ordinary = np.arange(len(images)), np.flatnonzero(~plain)
    for wholes, others in ((everything, ordinary), (ordinary, np.flatnonzero(plain))):
        for part in _parts(others, _COMPARED // len(hashes)):
            for one, other in _near(hashes[0, wholes], hashes[:, part].ravel()):
                yield images[wholes[one]], images[part[other % len(part)]]


def _near(ours: Hashes, theirs: Hashes) -> Pairs:
    """Yield places in two arrays of hashes that differ in at most `BITS`: all such pairs, some of them repeatedly.

    Of the four quarters of two such hashes one is equal, or differs in a single bit: two bits in each would be eight.
    So for each hash of theirs those of ours are looked up that have one of these 17 values in the same quarter.
    """
    for quarter in range(4):
        our, their = (hashes.view(np.uint16)[quarter::4].astype(np.int64) for hashes in (ours, theirs))
        order = np.argsort(our, kind="stable")
        starts = np.searchsorted(our, np.arange(2**16 + 1), sorter=order)  # where in this order each value begins
        for flipped in (0, *(1 << bit for bit in range(16))):
            wanted = their ^ flipped
            counts = starts[wanted + 1] - starts[wanted]
            ends = np.cumsum(counts)  # where all pairs are numbered, hash by hash of theirs
            # Some of theirs at a time, with about `_COMPARED` pairs.
            for some in np.split(np.arange(len(theirs)), np.flatnonzero(np.diff(ends // _COMPARED)) + 1):
                other = np.repeat(some, counts[some])
                number = np.arange(ends[some[-1]] - len(other), ends[some[-1]])
                one = order[starts[wanted[other]] + number - (ends - counts)[other]]
                near = np.bitwise_count(ours[one] ^ theirs[other]) <= BITS
                yield one[near], other[near]


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


def _unique(proposed: Pairs, count: int) -> Iterator[Indices]:
    """Yield proposed pairs of `count` images as rows (M, 2), each once of those that are proposed at a time."""
    for one, other in proposed:
        pairs = np.sort(np.minimum(one, other) * count + np.maximum(one, other))
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]  # `np.unique` takes ten times as long where many are equal
        yield from _parts(np.stack(np.divmod(pairs, count), axis=1), _PART)


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
    copies: NDArray[np.bool_] = np.isin(same, same[split == TRAIN]) & (split != TRAIN)
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

    Examples are the sets of the most splits, among them first those of the most classes.
    split: of each image, as `place` returns it, or −1 for what `data.limit` leaves out, which is of no interest;
    position: of each image in its split.
    without: sets whose images agree in this too are left out.
    """
    images = np.flatnonzero(split >= 0)
    images = images[np.bincount(same[images])[same[images]] > 1]
    first, of_set, sizes = np.unique(same[images], return_inverse=True, return_counts=True)

    def differing(column: NDArray[np.integer]) -> Indices:
        """Count the different values of a column (N,) in each set."""
        width = column.max(initial=0) + 1
        return np.bincount(np.unique(of_set * width + column[images]) // width, minlength=len(first))

    sets = np.arange(len(first)) if without is None else np.flatnonzero(differing(without) > 1)
    splits, classes = differing(split)[sets], differing(labels)[sets]
    copies = copies_of_train(same, split) & np.isin(same, first[sets])
    shown = [images[of_set == which][:_MEMBERS] for which in sets[np.lexsort((-classes, -splits))[:_EXAMPLES]]]
    return DuplicateSets(
        images=int(sizes[sets].sum()),
        sets=len(sets),
        conflicting=int((classes > 1).sum()),
        beside_train={SPLITS[which]: int((copies & (split == which)).sum()) for which in (VALIDATION, TEST)},
        examples=[
            [Example(split=SPLITS[split[i]], index=int(position[i]), name=names[i]) for i in members]
            for members in shown
        ],
    )
