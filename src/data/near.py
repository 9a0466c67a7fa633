"""Find photos that show the same picture: encoded again, resized, brightened, mirrored, or cropped by up to a tenth.

A difference hash (N. Krawetz, "Kind of Like That", 2013) proposes pairs, a correlation of small grey copies confirms
them. Both look at each photo whole and without its rim, since a crop moves every edge of the picture. How much of it is
found, and how often in vain, is in `benchmarks/near.py`.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RIMS = (0.0, 0.025, 0.05)  # of height and width, left out on each side
BITS = 7  # of 64 in which hashes may differ: one of their 8 bytes is then equal, by which pairs are found
CORRELATION = 0.9  # of equal pictures: 0.97 and more with few exceptions; of others, where hashes agree: 0.8 at most
SIDE = 24  # pixels of the copies that are correlated
SMALLEST = 32  # pixels; in smaller images unlike things (digits) look alike
_COMPARED = 2**22  # pairs of hashes at a time
_COPIES = 2**14  # of images that are kept, about 7 kB each

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]


def near_duplicates(pixels: NDArray[np.uint8]) -> Indices:
    """Return, for each of N images (N, H, W, C), the first image that shows the same picture, often itself.

    Every image is compared with that first one, so that no chain of likenesses grows through a class. Memory stays
    bounded; the time grows with N², though its factor is small.
    """
    first = np.arange(len(pixels))
    for one, other in sorted(set(_pairs(pixels))):
        if first[one] == one and first[other] == other:
            first[other] = one
    return first


def _pairs(pixels: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Yield pairs of images, the lower index first, that show the same picture; some of them several times."""

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

    for candidates in _candidates(*_hashes(pixels)):
        yield from ((one, other) for one, other in candidates if same(one, other))


def _hashes(pixels: NDArray[np.uint8]) -> tuple[Hashes, Hashes]:
    """Return (N,) hashes of the images, and (2 × rims × N,) of them and their mirror images without each rim."""
    plain = np.empty((len(RIMS), len(pixels)), np.uint64)
    mirrored = np.empty_like(plain)
    for index, image in enumerate(pixels):
        for rim, small in enumerate(_grey(image, 9, 8)):
            for hashes, grey in ((plain, small), (mirrored, small[:, ::-1])):
                # A bit for each of 8 × 8 pairs of neighbours: which is brighter.
                hashes[rim, index] = np.packbits(grey[:, 1:] > grey[:, :-1]).view(np.uint64)[0]
    return plain[0], np.concatenate([plain, mirrored]).ravel()


def _grey(image: NDArray[np.uint8], width: int, height: int) -> list[NDArray[np.uint8]]:
    """Return the image (H, W, C) in grey, small, without each of the rims."""
    grey = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).convert("L")
    boxes = [(rim * grey.width, rim * grey.height, (1 - rim) * grey.width, (1 - rim) * grey.height) for rim in RIMS]
    return [np.asarray(grey.resize((width, height), Image.Resampling.BOX, box)) for box in boxes]


def _candidates(whole: Hashes, variants: Hashes) -> Iterator[set[tuple[int, int]]]:
    """Yield pairs of which one image's hash differs from a variant of the other in at most `BITS` bits."""
    ours, theirs = (hashes.view(np.uint8).reshape(-1, 8) for hashes in (whole, variants))
    for byte in range(8):
        by_value, variants_by_value = (np.argsort(hashes[:, byte], kind="stable") for hashes in (ours, theirs))
        starts, variant_starts = (
            np.searchsorted(hashes[order, byte], np.arange(257))
            for hashes, order in ((ours, by_value), (theirs, variants_by_value))
        )
        for value in range(256):
            rows = by_value[starts[value] : starts[value + 1]]
            columns = variants_by_value[variant_starts[value] : variant_starts[value + 1]]
            for part in np.array_split(rows, 1 + len(rows) * len(columns) // _COMPARED):
                found, match = np.nonzero(np.bitwise_count(whole[part, None] ^ variants[columns]) <= BITS)
                one, other = part[found], columns[match]
                # A pair whose hashes agree in an earlier byte was found there.
                new = ~(ours[one, :byte] == theirs[other, :byte]).any(axis=1) & (one != other % len(whole))
                one, other = one[new], other[new] % len(whole)
                yield set(zip(np.minimum(one, other).tolist(), np.maximum(one, other).tolist(), strict=True))
