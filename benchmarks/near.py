"""How many altered copies of photos `split.near_duplicates` finds, how many pairs among originals, and in what time.

    python -m benchmarks.near

Of 2,000 photos of dogs and cats 200 are altered in each way; all are brought to 96×96 pixels first, as `split` would.
Then all of CIFAR-10, of whose test images some show pictures of train. Nothing here is taken for equal beforehand.
"""

import io
import tarfile
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.common import DATA, command_line
from benchmarks.problems import archive_of, prepared
from src.core.errors import command
from src.data.duplicates import near_duplicates
from src.data.prepared import open_split

PHOTOS, COPIES, SIDE = 2_000, 200, 96


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    folder = parser.parse_args().data
    copies(archive_of("dogs-vs-cats", folder))
    cifar10(archive_of("cifar10-basic", folder))


def copies(archive: Path) -> None:
    """Print how many altered copies of photos are found."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.lower().endswith(".jpg")][:PHOTOS]
        photos = [Image.open(io.BytesIO(tar.extractfile(each).read())).convert("RGB") for each in members]  # type: ignore[union-attr]
    chosen = np.random.default_rng(0).choice(len(photos), COPIES, replace=False)
    images = np.stack([small(photo) for photo in photos])
    first = timed("dogs and cats", images)
    print(f"{(first != np.arange(len(images))).sum()} of {len(images):,} photos count as a copy of another")
    for name, change in CHANGES.items():
        altered = np.stack([small(change(photos[index])) for index in chosen])
        both = np.concatenate([images, altered])
        first = near_duplicates(both, np.arange(len(both)))
        print(f"{name}: {(first[len(images) :] == first[chosen]).mean():.1%} of {COPIES} found")


def cifar10(archive: Path) -> None:
    """Print how many images of CIFAR-10 show the picture of another, and how many of test that of one of train."""
    with chdir(prepared("cifar10-basic", {"data.source": str(archive)})):
        train, test = open_split("train"), open_split("test")
    labels = np.concatenate([train.labels, test.labels])
    first = timed("CIFAR-10", np.concatenate([train.images[:], test.images[:]]))
    again = np.flatnonzero(first != np.arange(len(first)))
    sets = np.unique(first[again])
    beside = np.isin(first[len(train.labels) :], first[: len(train.labels)]).sum()
    print(
        f"{len(sets) + len(again):,} images in {len(sets):,} sets; {(labels[again] != labels[first[again]]).sum()} of"
    )
    print(f"another class than the first of their set; {beside} test images show a picture of train")


def timed(name: str, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return `near_duplicates`, and print what it takes."""
    started, used = time.perf_counter(), time.process_time()
    first = near_duplicates(images, np.arange(len(images)))
    seconds, of_processor = (
        1e5 / len(images) * each for each in (time.perf_counter() - started, time.process_time() - used)
    )
    print(f"{name}: {seconds:.1f} s for 100,000 images, {of_processor:.1f} s of a processor")
    return first


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
