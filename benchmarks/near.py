"""How many altered copies of photos `split.near_duplicates` finds, and how many pairs among the photos themselves.

    python -m benchmarks.near ARCHIVE.tar                           of JPEGs, such as dogs and cats

Of 2,000 photos 200 are altered in each way; all are brought to 96×96 pixels first, as `split` would.
"""

import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.common import command_line
from src.core.errors import command
from src.data.near import near_duplicates

PHOTOS, COPIES, SIDE = 2_000, 200, 96


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("archive", type=Path)
    with tarfile.open(parser.parse_args().archive) as archive:
        members = [member for member in archive if member.name.lower().endswith(".jpg")][:PHOTOS]
        photos = [Image.open(io.BytesIO(archive.extractfile(each).read())).convert("RGB") for each in members]  # type: ignore[union-attr]
    chosen = np.random.default_rng(0).choice(len(photos), COPIES, replace=False)
    images = np.stack([small(photo) for photo in photos])
    started = time.perf_counter()
    pairs = int((near_duplicates(images, np.arange(len(images))) != np.arange(len(images))).sum())
    print(f"{pairs} of {len(photos):,} photos count as a copy of another, {time.perf_counter() - started:.1f} s")
    for name, change in CHANGES.items():
        copies = np.stack([small(change(photos[index])) for index in chosen])
        first = near_duplicates(np.concatenate([images, copies]), np.arange(len(images) + COPIES))
        found = first[len(images) :] == first[chosen]
        print(f"{name}: {found.mean():.1%} of {COPIES} found")


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
