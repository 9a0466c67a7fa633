"""How many altered copies `split.near_duplicates` finds, how many different images stay apart, in what time and memory.

    python -m benchmarks.near

Photos of dogs and cats; halves of them, pasted on white or grey; drawn shapes, shaded and textured, on white or grey.
Of each 200 are altered in each way; all are brought to 96×96 pixels first, as `split` would. Then all of CIFAR-10, of
whose test images some show pictures of train. Nothing is taken for equal beforehand. Keeps `benchmarks/near.json`,
which `benchmarks/README.md` shows.
"""

import io
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageOps

from benchmarks.common import DATA, FOLDER, command_line, hardware, keep, versions
from benchmarks.problems import archive_of, prepared
from src.core.errors import command
from src.data.duplicates import near_duplicates
from src.data.prepared import open_split

RESULTS = FOLDER / "near.json"
PHOTOS, THINGS, COPIES, SIDE = 2_000, 4_000, 200, 96


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    folder = parser.parse_args().data
    photos = read(archive_of("dogs-vs-cats", folder))
    halves = [half for photo in photos for half in (cropped(photo, 0, 0, 0.5, 1), cropped(photo, 0.5, 0, 1, 1))]
    result = {
        "hardware": hardware(),
        "versions": versions("numpy", "pillow"),
        "copies": {
            "photos of dogs and cats": copies(photos),
            "halves of them on white or grey": copies([pasted(half, seed) for seed, half in enumerate(halves)]),
            "drawn shapes on white or grey": copies([shape(seed) for seed in range(THINGS)]),
        },
        "cifar10": cifar10(archive_of("cifar10-basic", folder)),
    }
    keep(RESULTS, result, ())
    print(result)


def read(archive: Path) -> list[Image.Image]:
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.lower().endswith(".jpg")][:PHOTOS]
        return [Image.open(io.BytesIO(tar.extractfile(each).read())).convert("RGB") for each in members]  # type: ignore[union-attr]


def copies(photos: list[Image.Image]) -> dict[str, Any]:
    """Count altered copies that are found, and different photos that are not taken for copies."""
    chosen = np.random.default_rng(0).choice(len(photos), COPIES, replace=False)
    images = np.stack([small(photo) for photo in photos])
    first, seconds = timed(images)
    altered = [np.stack([small(change(photos[index])) for index in chosen]) for change in CHANGES.values()]
    both = np.concatenate([images, *altered])
    tracemalloc.start()
    found = near_duplicates(both, np.arange(len(both)))
    mib = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    shares = (found[len(images) :].reshape(len(CHANGES), -1) == first[chosen]).mean(axis=1)
    return {
        "images": len(images),
        "alone": int((np.bincount(first)[first] == 1).sum()),
        "found": dict(zip(CHANGES, map(float, shares), strict=True)),
        "seconds": seconds,
        "mib": round(mib),
    }


def cifar10(archive: Path) -> dict[str, Any]:
    """Count images of CIFAR-10 that show the picture of another, and those of test that show one of train."""
    with chdir(prepared("cifar10-basic", {"data.source": str(archive)})):
        train, test = open_split("train"), open_split("test")
    labels = np.concatenate([train.labels, test.labels])
    images = np.concatenate([train.images[:], test.images[:]])
    first, seconds = timed(images)
    again = np.flatnonzero(first != np.arange(len(first)))
    sets = np.unique(first[again])
    return {
        "images": len(images),
        "in_sets": len(sets) + len(again),
        "sets": len(sets),
        "of_another_class": int((labels[again] != labels[first[again]]).sum()),
        "test_beside_train": int(np.isin(first[len(train.labels) :], first[: len(train.labels)]).sum()),
        "seconds": seconds,
    }


def timed(images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], float]:
    """Return `near_duplicates`, and the seconds of a processor that it takes."""
    used = time.process_time()
    first = near_duplicates(images, np.arange(len(images)))
    return first, round(time.process_time() - used, 1)


def pasted(photo: Image.Image, seed: int) -> Image.Image:
    """Paste a photo on white or grey, 40 to 60 % as wide; every second one is cut to an ellipse."""
    random = np.random.default_rng(seed)
    width = int(random.integers(96, 145))
    thing = photo.resize((width, min(216, round(width * photo.height / photo.width))))
    mask = Image.new("L", thing.size, 255 * (seed % 2))
    ImageDraw.Draw(mask).ellipse((0, 0, *thing.size), fill=255)
    picture = Image.new("RGB", (240, 240), ("white", "#c8c8c8")[random.integers(2)])
    picture.paste(thing, ((240 - thing.width) // 2, (240 - thing.height) // 2), mask)
    return encoded(picture, 92)


def shape(seed: int) -> Image.Image:
    """Draw two forms in one colour, shaded and textured, on white or grey: ellipses, rectangles, polygons."""
    random = np.random.default_rng(seed)
    mask = Image.new("L", (240, 240))
    draw = ImageDraw.Draw(mask)
    for kind in random.integers(3, size=2):
        middle, half = random.uniform(90, 150, 2), random.uniform(20, 70, 2)
        if kind == 0:
            draw.ellipse((*(middle - half), *(middle + half)), fill=255)
        elif kind == 1:
            draw.rectangle((*(middle - half), *(middle + half)), fill=255)
        else:
            angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 10)))
            corners = middle + half * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            draw.polygon([(x, y) for x, y in corners], fill=255)
    shade = Image.linear_gradient("L").resize((240, 240)).rotate(random.uniform(0, 360))
    texture = Image.fromarray(random.integers(0, 256, [random.integers(2, 25)] * 2, np.uint8)).resize((240, 240))
    light = Image.blend(
        Image.new("L", (240, 240), 255), Image.blend(shade, texture, random.random()), random.uniform(0, 0.6)
    )
    colour = Image.new("RGB", (240, 240), tuple(map(int, random.integers(20, 256, 3))))
    thing = ImageChops.multiply(colour, light.convert("RGB"))
    picture = Image.new("RGB", (240, 240), ("white", "#c8c8c8")[random.integers(2)])
    picture.paste(thing, mask=mask)
    return encoded(picture, 92)


def small(photo: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def encoded(photo: Image.Image, quality: int = 60) -> Image.Image:
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


def cropped(photo: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = photo.size
    return photo.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 60": encoded,
    "half the size": lambda photo: encoded(photo.resize((photo.width // 2, photo.height // 2)), 90),
    "the middle 95 %": lambda photo: cropped(photo, 0.025, 0.025, 0.975, 0.975),
    "the middle 90 %": lambda photo: cropped(photo, 0.05, 0.05, 0.95, 0.95),
    "without 5 % at the left and the top": lambda photo: cropped(photo, 0.05, 0.05, 1, 1),
    "mirrored": ImageOps.mirror,
    "25 % brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.25),
}

if __name__ == "__main__":
    command(main)
