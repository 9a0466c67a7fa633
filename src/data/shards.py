"""Write a split: its images in shards, its labels, and a table of names, groups and digests.

Which shard an image is in follows from its content. So a new image changes one shard, and DVC stores only that again.
"""

import hashlib
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from src.core import files
from src.data.splitting import Indices

_CHUNK_BYTES = 4 * 2**20


def by_shard(digests: list[bytes], most: int) -> list[Indices]:
    """Return the indices of the images of each of 2^k shards, k being the least with which none has more than `most`.

    A shard is what the digests begin with, hashed together with how often they occurred before: so neither equal
    images nor similar digests crowd one. Within a shard the order is that of the images.
    """
    before: Counter[bytes] = Counter()
    leading = np.empty(len(digests), np.uint32)
    for index, digest in enumerate(digests):
        mixed = hashlib.sha256(digest + b" %d" % before[digest]).digest()
        leading[index] = int.from_bytes(mixed[:4])
        before[digest] += 1
    bits = 0
    while np.bincount(leading >> np.uint32(32 - bits) if bits else 0 * leading, minlength=1).max() > most:
        bits += 1
    shard = leading >> np.uint32(32 - bits) if bits else 0 * leading
    return np.split(np.argsort(shard, kind="stable"), np.searchsorted(np.sort(shard), np.arange(1, 2**bits)))


def write_images(path: Path, pixels: NDArray[np.uint8], indices: Indices) -> NDArray[np.int64]:
    """Gather images in chunks into an .npy file. Return how often each channel has each value, (C, 256)."""
    shape = (len(indices), *pixels.shape[1:])
    histogram = np.zeros((shape[-1], 256), np.int64)
    step = max(1, _CHUNK_BYTES // int(np.prod(shape[1:])))
    with path.open("wb") as file:
        _write_header(file, "|u1", shape)
        for start, end in pairwise([*range(0, len(indices), step), len(indices)]):
            chunk = np.ascontiguousarray(pixels[indices[start:end]])
            file.write(chunk.data)
            for channel in range(shape[-1]):
                histogram[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
        _sync(file)
    return histogram


def write_labels(path: Path, labels: Indices) -> None:
    """Write labels (N,) as an .npy file of int64."""
    with path.open("wb") as file:
        _write_header(file, "<i8", labels.shape)
        file.write(labels.astype("<i8").data)
        _sync(file)


def write_samples(path: Path, names: list[str], groups: list[str] | None, digests: list[bytes]) -> None:
    """Write the table of a split's images, in the order of its shards."""
    import pyarrow.parquet

    columns: dict[str, Any] = {"name": names, "group": groups, "digest": [digest.hex() for digest in digests]}
    if groups is None:
        columns["group"] = pyarrow.nulls(len(names), pyarrow.string())
    with path.open("wb") as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)
        _sync(file)


def md5s(folder: Path) -> dict[str, str]:
    """Return the MD5 of each file of a folder by its name."""
    return {path.name: files.digest(path) for path in sorted(folder.iterdir())}


def _write_header(file: IO[bytes], dtype: str, shape: tuple[int, ...]) -> None:
    """Write the header of an .npy file. `np.save` hides why writing failed, such as a full disk."""
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
