"""Photos that show the same picture are found, others are not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from src.data import duplicates
from src.data.duplicates import BITS, near_duplicates


def scene(seed: int) -> Image.Image:
    """A smooth picture, unlike those of other seeds."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)).resize((160, 120))


def thing(seed: int) -> Image.Image:
    """A picture before white, with the outline of those of other seeds."""
    photo = Image.new("RGB", (160, 120), "white")
    photo.paste(scene(seed).resize((80, 60)), (40, 30))
    return photo


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


@pytest.mark.parametrize("picture", [scene, thing])
@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_nothing_else(kind: str, picture: Callable[[int], Image.Image]) -> None:
    photos = [picture(seed) for seed in range(60)]
    copies = [COPIES[kind](photo) for photo in photos[:20]]
    assert found(pixels(photos + copies)) == [*range(60), *range(20)]


def test_frames_of_one_scene_are_no_copies(capsys: pytest.CaptureFixture[str]) -> None:
    frames = [scene(1).copy() for _ in range(40)]
    for number, frame in enumerate(frames):
        frame.paste((number, 99, 0), (number, 0, number + 12, 12))  # a small thing before the scene
    frames += [scene(2), again(scene(2))]
    assert found(pixels(frames)) == [*range(41), 40]
    assert "40 images look alike in 1 set of more than 16, too many for copies" in capsys.readouterr().out


def test_so_many_plain_images_that_comparing_takes_hours_are_not_compared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MOST_PLAIN", 2)
    photos = [thing(1), again(thing(1)), thing(2), scene(1), again(scene(1))]
    assert found(pixels(photos)) == [0, 1, 2, 3, 3]
    assert "3 images before plain backgrounds are too many to compare" in capsys.readouterr().out


def test_grey_and_plain_images_are_compared_too() -> None:
    grey = pixels([scene(1), again(scene(1)), scene(2)])[..., :1]
    assert found(grey) == [0, 0, 2]
    assert found(np.full((3, 40, 50, 3), 255, np.uint8)) == [0, 1, 2], "nothing is seen in them"
    assert found(np.zeros((0, 40, 50, 3), np.uint8)) == []


def test_of_equal_images_one_is_compared() -> None:
    images = pixels([scene(1)] * 500 + [again(scene(1)), scene(2)])
    assert near_duplicates(images, np.array([0] * 500 + [500, 501])).tolist() == [0] * 501 + [501]


def test_before_a_plain_background_colours_and_sizes_differ() -> None:
    parts = []
    for colour, right in (("red", 120), ("green", 120), ("red", 100), ("black", 80)):
        parts.append(Image.new("RGB", (160, 120), "white"))
        ImageDraw.Draw(parts[-1]).ellipse((40, 30, right, 90), fill=colour)
    assert found(pixels([*parts, *map(again, parts)])) == [0, 1, 2, 3, 0, 1, 2, 3]


def test_sets_do_not_depend_on_the_order() -> None:
    """Crops of crops: the first and the last show too little of each other, but each shows the picture of the next."""
    crops = [scene(0).crop((10 * step, 8 * step, 160 - 10 * step, 120 - 8 * step)) for step in range(4)]
    assert found(pixels([crops[0], crops[3]])) == [0, 1]
    images = pixels([*crops, scene(1), again(scene(1)), scene(2)])
    assert found(images) == [0, 0, 0, 0, 4, 4, 6]
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(images))
        sets = {frozenset(order[np.array(found(images[order])) == first]) for first in range(len(images))}
        assert sets - {frozenset()} == {frozenset({0, 1, 2, 3}), frozenset({4, 5}), frozenset({6})}


def test_near_hashes_are_all_within_the_bits() -> None:
    """Compared with all pairs: hashes in families whose members differ in up to ten bits."""
    random = np.random.default_rng(0)
    hashes = np.repeat(random.integers(2**64, size=40, dtype=np.uint64), 10)
    for _ in range(5):
        hashes[random.random(400) < 0.7] ^= np.uint64(1) << random.integers(64, dtype=np.uint64)
    others = np.concatenate([hashes, random.permutation(hashes)])
    expected = set(zip(*np.nonzero(np.bitwise_count(hashes[:, None] ^ others[None]) <= BITS), strict=True))
    assert {pair for near in duplicates._near(hashes, others) for pair in zip(*near, strict=True)} == expected
    assert len(expected) > 800


def test_memory_is_bounded_where_all_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_COMPARED", 2**10)
    same = np.full(300, 5, np.uint64)
    sizes = [len(one) for one, _ in duplicates._near(same, same)]
    assert max(sizes) < 2**10 + 300
    assert sum(sizes) == 4 * 300**2, "each of four parts finds all pairs"
