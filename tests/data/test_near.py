"""Photos that show the same picture are found, others are not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from src.data.near import near_duplicates


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


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_nothing_else(kind: str) -> None:
    photos = [scene(seed) for seed in range(60)]
    copies = [COPIES[kind](photo) for photo in photos[:20]]
    assert near_duplicates(pixels(photos + copies)).tolist() == [*range(60), *range(20)]


def test_grey_and_plain_images_are_compared_too() -> None:
    grey = pixels([scene(1), again(scene(1)), scene(2)])[..., :1]
    assert near_duplicates(grey).tolist() == [0, 0, 2]
    assert near_duplicates(np.full((3, 40, 50, 3), 255, np.uint8)).tolist() == [0, 1, 2], "nothing is seen in them"
    assert near_duplicates(np.zeros((0, 40, 50, 3), np.uint8)).tolist() == []
