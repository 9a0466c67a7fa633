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


class Decoded(NamedTuple):
    name: str
    pixels: NDArray[np.uint8] | None  # (H, W, C), C = 1 or 3; None: unreadable
    digest: bytes  # equal for images with equal pixels, grey or RGB
    reason: str  # why it is unreadable, else empty


def decode_all(files: Iterator[tuple[str, bytes]], fit: Fit | None, max_pixels: int) -> Iterator[Decoded]:
    """Yield each of `files` (name, content) decoded. Pillow decodes outside of Python's lock, so threads help."""
    most = 1  # images of a task, as large as the last one that was decoded

    def tasks() -> Iterator[list[tuple[str, bytes]]]:
        task: list[tuple[str, bytes]] = []
        size = 0
        for file in files:
            task.append(file)
            size += len(file[1])
            if len(task) >= most or size >= _TASK_FILE_BYTES:
                yield task
                task, size = [], 0
        yield task

    def decoded(task: list[tuple[str, bytes]]) -> list[Decoded]:
        return [_decode(name, content, fit, max_pixels) for name, content in task]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which we do not use
        for images in map_ahead(decoded, tasks(), _WORKERS):
            for image in images:
                if image.pixels is not None:
                    most = max(1, _TASK_PIXEL_BYTES // (3 * image.pixels[..., 0].size))
                yield image


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """Return `DIGEST_BYTES` that are equal for equal pixels."""
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=DIGEST_BYTES).digest()


def _decode(name: str, content: bytes, fit: Fit | None, max_pixels: int) -> Decoded:
    try:
        pixels = decode(content, fit, max_pixels)
    except Unreadable as reason:
        return Decoded(name, None, b"", str(reason))
    return Decoded(name, pixels, digest(np.broadcast_to(pixels, (*pixels.shape[:2], 3))), "")
