"""Photos that show the same picture are found, others are not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from src.data.duplicates import BITS, _candidates, near_duplicates


def scene(seed: int) -> Image.Image:
    """A smooth picture, unlike those of other seeds."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)).resize((160, 120))


def again(photo: Image.Image) -> Image.Image:
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=60)
    return Image.open(content)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded again": again,
    "half the size": lambda photo: photo.resize((80, 60)),
    "cropped": lambda photo: photo.crop((8, 6, 152, 114)),
    "mirrored": ImageOps.mirror,
    "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.2),
}


def pixels(photos: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(photo.resize((64, 64))) for photo in photos])


def found(images: NDArray[np.uint8]) -> list[int]:
    """No two of the images are taken for equal."""
    return [int(first) for first in near_duplicates(images, np.arange(len(images)))]


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_nothing_else(kind: str) -> None:
    photos = [scene(seed) for seed in range(60)]
    copies = [COPIES[kind](photo) for photo in photos[:20]]
    assert found(pixels(photos + copies)) == [*range(60), *range(20)]


def test_grey_and_plain_images_are_compared_too() -> None:
    grey = pixels([scene(1), again(scene(1)), scene(2)])[..., :1]
    assert found(grey) == [0, 0, 2]
    assert found(np.full((3, 40, 50, 3), 255, np.uint8)) == [0, 1, 2], "nothing is seen in them"
    assert found(np.zeros((0, 40, 50, 3), np.uint8)) == []


def test_of_equal_images_one_is_compared() -> None:
    images = pixels([scene(1)] * 500 + [again(scene(1)), scene(2)])
    assert near_duplicates(images, np.array([0] * 500 + [500, 501])).tolist() == [0] * 501 + [501]


def test_candidates_are_all_pairs_within_the_bits() -> None:
    """Compared with all pairs: hashes in families whose members differ in up to ten bits."""
    random = np.random.default_rng(0)
    hashes = np.repeat(random.integers(2**64, size=40, dtype=np.uint64), 10)
    for _ in range(5):
        hashes[random.random(400) < 0.7] ^= np.uint64(1) << random.integers(64, dtype=np.uint64)
    variants = np.concatenate([hashes, random.permutation(hashes)])
    one, other = np.nonzero(np.bitwise_count(hashes[:, None] ^ variants[None]) <= BITS)
    expected = {(min(a, b), max(a, b)) for a, b in zip(one, other % 400, strict=True) if a != b % 400}
    assert {tuple(pair) for pair in _candidates(hashes, variants)} == expected
    assert len(expected) > 400
