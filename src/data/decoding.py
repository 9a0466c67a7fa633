"""Decodes image files in threads, in their order, with bounded memory."""

import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.data.images import Fit, Unreadable, decode

_WORKERS = min(4, os.cpu_count() or 1)
# What one task of a thread may hold. One task for each file of 1 KiB would cost more than decoding it.
_TASK_FILE_BYTES = 256 * 2**10
_TASK_PIXEL_BYTES = 8 * 2**20

Size = tuple[int, int]  # height, width


class Decoded(NamedTuple):
    name: str
    size: Size
    pixels: NDArray[np.uint8] | None  # (H, W, C), C = 1 or 3; None: not the size of the first image, or unreadable
    digest: bytes  # equal for images with equal pixels, grey or RGB
    fault: str  # why it is unreadable, else empty


def decode_all(files: Iterator[tuple[str, bytes]], fit: Fit | None) -> Iterator[Decoded]:
    """Each of `files` (name, content) decoded. Pixels come only for images of the first one's size.

    Pillow decodes outside of Python's lock, so threads help; how much is under way at a time is bounded by the
    images' size, which the first image tells.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which we do not use
        size = (fit.size, fit.size) if fit else None
        while size is None:
            if (file := next(files, None)) is None:
                return
            first = _decode(file, fit, None)
            if not first.fault:
                size = first.size
            yield first
        yield from _in_threads(files, fit, size)


def digest(pixels: NDArray[np.uint8]) -> bytes:
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()


def _decode(file: tuple[str, bytes], fit: Fit | None, expected: Size | None) -> Decoded:
    name, data = file
    try:
        pixels = decode(data, fit)
    except Unreadable as reason:
        return Decoded(name, (0, 0), None, b"", str(reason))
    size = pixels.shape[:2]
    if expected not in (None, size):
        return Decoded(name, size, None, b"", "")
    return Decoded(name, size, pixels, digest(np.broadcast_to(pixels, (*size, 3))), "")


def _in_threads(files: Iterator[tuple[str, bytes]], fit: Fit | None, size: Size) -> Iterator[Decoded]:
    def run(task: list[tuple[str, bytes]]) -> list[Decoded]:
        return [_decode(file, fit, size) for file in task]

    window: deque[Future[list[Decoded]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for task in _tasks(files, max(1, _TASK_PIXEL_BYTES // (3 * size[0] * size[1]))):
            window.append(pool.submit(run, task))
            if len(window) > _WORKERS:
                yield from window.popleft().result()
        while window:
            yield from window.popleft().result()


def _tasks(files: Iterator[tuple[str, bytes]], most: int) -> Iterator[list[tuple[str, bytes]]]:
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
