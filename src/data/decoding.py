"""Decode image files in threads, in their order, with bounded memory."""

import warnings
from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.pool import map_ahead, processors
from src.data.images import Fit, Unreadable, decode

_WORKERS = min(16, processors())  # more would only wait for the one thread that reads and writes
DIGEST_BYTES = 16
# What one task of a thread may hold. One task for each file of 1 KiB would cost more than decoding it.
_TASK_FILE_BYTES = 256 * 2**10
_TASK_PIXEL_BYTES = 8 * 2**20

Size = tuple[int, int]  # height, width


class Decoded(NamedTuple):
    name: str
    size: Size
    pixels: NDArray[np.uint8] | None  # (H, W, C), C = 1 or 3; None: not the size of the first image, or unreadable
    digest: bytes  # equal for images with equal pixels, grey or RGB
    reason: str  # why it is unreadable, else empty


def decode_all(files: Iterator[tuple[str, bytes]], fit: Fit | None, max_pixels: int) -> Iterator[Decoded]:
    """Yield each of `files` (name, content) decoded. Pixels come only for images of the first one's size.

    Pillow decodes outside of Python's lock, so threads help; how much is under way at a time is bounded by the
    images' size, which the first image tells.
    """

    def decoded(task: list[tuple[str, bytes]], expected: Size | None) -> list[Decoded]:
        return [_decode(name, data, fit, max_pixels, expected) for name, data in task]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which we do not use
        size = (fit.height, fit.width) if fit else None
        while size is None:
            if (file := next(files, None)) is None:
                return
            (first,) = decoded([file], None)
            if not first.reason:
                size = first.size
            yield first
        tasks = _tasks(files, max(1, _TASK_PIXEL_BYTES // (3 * size[0] * size[1])))
        for images in map_ahead(lambda task: decoded(task, size), tasks, _WORKERS):
            yield from images


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """Return `DIGEST_BYTES` that are equal for equal pixels."""
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=DIGEST_BYTES).digest()


def _decode(name: str, data: bytes, fit: Fit | None, max_pixels: int, expected: Size | None) -> Decoded:
    try:
        pixels = decode(data, fit, max_pixels)
    except Unreadable as reason:
        return Decoded(name, (0, 0), None, b"", str(reason))
    size = pixels.shape[:2]
    if expected not in (None, size):
        return Decoded(name, size, None, b"", "")
    return Decoded(name, size, pixels, digest(np.broadcast_to(pixels, (*size, 3))), "")


def _tasks(files: Iterator[tuple[str, bytes]], most: int) -> Iterator[list[tuple[str, bytes]]]:
    """Yield `files` in lists of at most `most`, which one thread decodes."""
    task: list[tuple[str, bytes]] = []
    size = 0
    for name, data in files:
        task.append((name, data))
        size += len(data)
        if size >= _TASK_FILE_BYTES or len(task) >= most:
            yield task
            task, size = [], 0
    if task:
        yield task
