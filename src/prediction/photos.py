"""Read photos as the pixels that a model takes: in order, by threads, in bounded memory.

They are prepared by the code that prepared the training images, `src.data.images`.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.core.pool import map_ahead, processors
from src.data.images import MAX_FILE_BYTES, SUFFIXES, Fit, Unreadable, decode, is_image, refuse_raw
from src.data.layout import is_generated
from src.data.prepared import ImageFormat

Pixels = NDArray[np.uint8]

_WORKERS = min(4, processors())  # Pillow decodes outside of Python's lock


class Found(NamedTuple):
    """Name a file that may be a photo."""

    path: Path
    named: bool  # by the user, so that it must be an image; in a folder other files are ignored


class Photo(NamedTuple):
    """Hold a file's photo, or None and why it cannot be read, which is empty for a file that is no image."""

    path: Path
    pixels: Pixels | None  # (H, W, C), as the model takes them
    fault: str = ""


def find(paths: Iterable[Path]) -> Iterator[Found]:
    """Yield files as named, and all files below folders by name, but hidden ones and what systems make.

    Links to folders are not followed. The names of one folder at a time are held, about 0.2 KiB each.
    """

    def seen(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if not is_generated(name))

    for path in paths:
        if not path.is_dir():
            yield Found(path, named=True)
            continue
        unlisted: list[OSError] = []  # folders
        for folder, folders, files in os.walk(path, onerror=unlisted.append):
            folders[:] = seen(folders)
            for name in seen(files):
                yield Found(Path(folder, name), named=False)
        for error in unlisted:
            yield Found(Path(error.filename), named=True)


def read(files: Iterable[Found], image: ImageFormat, ahead: int) -> Iterator[Photo]:
    """Yield each file's photo, in order. At most `ahead` wait decoded."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # about odd metadata
        yield from map_ahead(lambda file: read_photo(file, image), files, _WORKERS, ahead)


def read_photo(file: Found, image: ImageFormat) -> Photo:
    """Read a file, and decode it if it is an image."""
    by_name = file.named or file.path.suffix.lower() in SUFFIXES
    try:
        if not file.path.is_file() or file.path.stat().st_size > MAX_FILE_BYTES:
            large = f"more than {MAX_FILE_BYTES // 2**20} MiB"
            reason = large if file.path.is_file() else "neither a file nor a folder that can be listed"
            return Photo(file.path, None, reason if by_name else "")
        data = file.path.read_bytes()
        if not by_name and not is_image(data):
            return Photo(file.path, None)
        refuse_raw(file.path.name)
        return Photo(file.path, prepare(data, image))
    except Unreadable as reason:
        return Photo(file.path, None, str(reason))
    except OSError as error:
        return Photo(file.path, None, error.strerror or str(error))


def prepare(data: bytes, image: ImageFormat) -> Pixels:
    """Decode a photo and bring it to the model's format (H, W, C), as the training images were.

    If those had the model's size already, the photo is cropped and scaled. Raises `Unreadable`.
    """
    pixels = decode(data, Fit(image.height, image.width, image.resize or "crop"))
    if pixels.shape[2] > image.channels:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., np.newaxis]
    return np.repeat(pixels, image.channels // pixels.shape[2], axis=2)
