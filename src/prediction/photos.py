"""Any number of photos as the pixels that a model takes: read and decoded in threads, in order, in bounded memory.

Photos are prepared as the split stage prepared the training images, by the same code: `src.data.images`.
"""

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from src.core.errors import UserError
from src.core.pool import map_ahead, processors
from src.data.images import MAX_FILE_BYTES, SUFFIXES, Fit, Resize, Unreadable, decode, is_image
from src.data.prepared import ImageFormat

Pixels = NDArray[np.uint8]

_WORKERS = min(4, processors())  # Pillow decodes outside of Python's lock


class Found(NamedTuple):
    """Name a file that may be a photo."""

    path: Path
    named: bool  # by the user; in a folder, what is no image is passed over
    fault: str = ""  # why a folder cannot be listed


class Photo(NamedTuple):
    """Hold one file's pixels (H, W, C); or None and the fault, which is empty for files that are no images."""

    path: Path
    pixels: Pixels | None
    fault: str


class Preparation(NamedTuple):
    """Say how photos are brought to a model's format. Without `fit` they must have its size already."""

    image: ImageFormat
    fit: Fit | None


def preparation(image: ImageFormat, resize: Resize | None) -> Preparation:
    """Prepare photos as the model's training images were; `resize` is for those that had the data set's own size."""
    if resize is None:
        return Preparation(image, Fit(image.height, image.width, image.resize) if image.resize else None)
    if image.resize is not None and image.resize != resize:
        raise UserError(f"--resize {resize}: the model was trained on photos brought to its size by {image.resize}")
    if image.height != image.width:
        raise UserError(
            f"--resize: the model's images are not square ({image.width}×{image.height}): bring photos to it"
        )
    return Preparation(image, Fit(image.height, image.width, resize))


def find(paths: Iterable[Path]) -> Iterator[Found]:
    """Yield files as named, and everything below folders, by name, but hidden files and links to folders.

    Only the names of one folder at a time are held (about 0.2 KiB each).
    """
    for path in paths:
        if path.is_dir():
            yield from _below(path)
        else:
            yield Found(path, named=True)


def _below(folder: Path) -> Iterator[Found]:
    """Yield everything below a folder."""
    try:
        with os.scandir(folder) as entries:
            content = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(".") and entry.name != "__MACOSX"
            )
    except OSError as error:
        yield Found(folder, named=True, fault=error.strerror or str(error))
        return
    for name, is_folder in content:
        if is_folder:
            yield from _below(folder / name)
        else:
            yield Found(folder / name, named=False)


def read(files: Iterable[Found], wanted: Preparation, ahead: int) -> Iterator[Photo]:
    """Yield each file's photo, in order. At most `ahead` are decoded and not yet taken."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # odd metadata, which we do not use
        yield from map_ahead(lambda file: read_photo(file, wanted), files, _WORKERS, ahead)


def read_photo(file: Found, wanted: Preparation) -> Photo:
    """Read a file, and decode it if it is an image; what was named by the user has to be one."""
    if file.fault:
        return Photo(file.path, None, file.fault)
    by_name = file.named or file.path.suffix.lower() in SUFFIXES
    try:
        if not file.path.is_file() or file.path.stat().st_size > MAX_FILE_BYTES:
            reason = f"more than {MAX_FILE_BYTES // 2**20} MiB" if file.path.is_file() else "not a file"
            return Photo(file.path, None, reason if by_name else "")
        data = file.path.read_bytes()
        if not by_name and not is_image(data):
            return Photo(file.path, None, "")
        return Photo(file.path, prepare(data, wanted), "")
    except Unreadable as reason:
        return Photo(file.path, None, str(reason))
    except OSError as error:
        return Photo(file.path, None, error.strerror or str(error))


def prepare(data: bytes, wanted: Preparation) -> Pixels:
    """Decode an image to pixels (H, W, C) as the model takes them. Raises `Unreadable`."""
    image = wanted.image
    pixels = decode(data, wanted.fit)
    height, width = pixels.shape[:2]
    if (height, width) != (image.height, image.width):
        hint = "; --resize brings photos to it" if image.height == image.width else ""
        raise Unreadable(f"{width}×{height} pixels; the model takes {image.width}×{image.height}{hint}")
    return with_channels(pixels, image.channels)


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Return the pixels (H, W, 1 or 3) with `channels` channels, grey or RGB, as the split stage makes them."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., np.newaxis]
