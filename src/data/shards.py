"""Write a split: its images in shards, its labels, and a table of names, groups and digests.

Which shard an image is in follows from its content. So a new image changes one shard, and DVC stores only that again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.splitting import Indices

_CHUNK_BYTES = 4 * 2**20
_ROWS = 2**17  # of the table of samples that are written at a time


def by_shard(digests: NDArray[np.uint8], same: Indices, most: int) -> list[Indices]:
    """Return the indices of the images of each of 2^k shards, k being the least with which none has more than `most`.

    digests: (N, 16), of the images; same: (N,), equal where they are.
    A shard is what the digests begin with, hashed together with how often they occurred before: so neither equal
    images nor similar digests crowd one. Within a shard the order is that of the images.
    """
    order = np.argsort(same, kind="stable")
    starts = np.flatnonzero(np.diff(same[order], prepend=-1))
    before = np.empty(len(same), np.int64)
    before[order] = np.arange(len(same)) - np.repeat(starts, np.diff(starts, append=len(same)))
    mixed = (hashlib.sha256(digest.tobytes() + b" %d" % n).digest() for digest, n in zip(digests, before, strict=True))
    leading = np.fromiter((int.from_bytes(hashed[:4]) for hashed in mixed), np.int64, len(same))
    bits = 0
    while np.bincount(leading >> (32 - bits), minlength=1).max() > most:
        bits += 1
    shard = leading >> (32 - bits)
    return np.split(np.argsort(shard, kind="stable"), np.searchsorted(np.sort(shard), np.arange(1, 2**bits)))


def write_images(path: Path, pixels: NDArray[np.uint8], indices: Indices) -> NDArray[np.int64]:
    """Gather images in chunks into an .npy file. Return how often each channel has each value, (C, 256)."""
    shape = (len(indices), *pixels.shape[1:])
    histogram = np.zeros((shape[-1], 256), np.int64)
    step = max(1, _CHUNK_BYTES // int(np.prod(shape[1:])))

    def chunks() -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(indices), step):
            chunk = pixels[indices[start : start + step]]
            for channel in range(shape[-1]):
                histogram[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
            yield chunk

    write_array(path, "|u1", shape, chunks())
    return histogram


def write_array(path: Path, dtype: str, shape: tuple[int, ...], chunks: Iterable[NDArray[Any]]) -> None:
    """Write an .npy file from its chunks. `np.save` hides why writing failed, such as a full disk."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk, dtype).data)


def write_samples(
    path: Path, names: NDArray[Any], groups: Sequence[str] | None, digests: NDArray[np.uint8], indices: Indices
) -> None:
    """Write the table of a split's images, in the order of its shards: `indices` of all images' columns."""
    import pyarrow.parquet

    text = pyarrow.string()
    schema = pyarrow.schema({"name": text, "group": text, "digest": text})
    with pyarrow.parquet.ParquetWriter(path, schema) as table:
        for part in np.array_split(indices, -(-len(indices) // _ROWS)) if len(indices) else []:
            group = [groups[index] for index in part] if groups else [None] * len(part)
            columns = [names[part].tolist(), group, [digest.tobytes().hex() for digest in digests[part]]]
            table.write_batch(pyarrow.record_batch(columns, schema))
