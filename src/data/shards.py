"""Write a split: its images in shards, its labels, and a table of names, groups, digests and copies.

Which shard an image is in follows from its content. So a new image changes one shard, and DVC stores only that again.
"""

import math
import shutil
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from src.core.files import digest
from src.data.prepared import LABELS, SAMPLES, SHARDS, SplitName, SplitRecord, split_folder
from src.data.splitting import Indices
from src.data.staging import Staged

_CHUNK_BYTES = 4 * 2**20
_ROWS = 2**17  # of the table of samples that are written at a time


def write_split(
    name: SplitName, staged: Staged, copies: NDArray[np.bool_], ours: Indices, shard_bytes: int
) -> tuple[SplitRecord, Indices, NDArray[np.int64]]:
    """Write the folder of a split anew, of the images `ours`. copies: (N,), of all images, as `copies_of_train` says.

    Return its record, `ours` in the order of its shards, and how often each channel has each value, (C, 256).
    """
    import pyarrow.parquet

    folder = split_folder(name)
    if folder.exists():
        shutil.rmtree(folder)  # its files may be one with those of DVC's cache
    folder.mkdir()
    shape = staged.pixels.shape[1:]
    histogram = np.zeros((shape[-1], 256), np.int64)
    shards = by_shard(staged.pixel_digests[ours], max(1, shard_bytes // staged.pixels[0].nbytes))
    step = max(1, _CHUNK_BYTES // staged.pixels[0].nbytes)
    for number, members in enumerate(shards):
        with _new_array(folder / SHARDS.format(number), "|u1", (len(members), *shape)) as file:
            for start in range(0, len(members), step):
                images = np.ascontiguousarray(staged.pixels[ours[members[start : start + step]]])
                file.write(images.data)
                for channel in range(shape[-1]):
                    histogram[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
    ours = ours[np.concatenate(shards)]
    labels = staged.labels[ours]
    with _new_array(folder / LABELS, "<i8", labels.shape) as file:
        file.write(labels.astype("<i8").data)
    texts = dict.fromkeys(("name", "group", "digest"), pyarrow.string())
    schema = pyarrow.schema(texts | {"copy_of_train": pyarrow.bool_()})
    with pyarrow.parquet.ParquetWriter(folder / SAMPLES, schema) as table:
        for start in range(0, len(ours), _ROWS):
            rows = ours[start : start + _ROWS]
            groups = [staged.groups[row] for row in rows] if staged.groups else [None] * len(rows)
            digests = [each.tobytes().hex() for each in staged.pixel_digests[rows]]
            columns = [staged.names[rows].tolist(), groups, digests, copies[rows].tolist()]
            table.write_batch(pyarrow.record_batch(columns, schema))
    per_class = np.bincount(labels, minlength=len(staged.classes)).tolist()
    record = SplitRecord(
        count=len(ours),
        per_class=dict(zip(staged.classes, per_class, strict=True)),
        md5={path.name: digest(path) for path in sorted(folder.iterdir())},
    )
    return record, ours, histogram


def by_shard(digests: NDArray[np.uint8], most: int) -> list[Indices]:
    """Return the indices of the images, by their digests (N, 16), of each shard, in the order of the images.

    Up to `most` images are one shard. More are divided by the first k bits of their digests into 2^k shards, where k is
    the least with which shards are three quarters full on average. More than `most` images that begin with the same
    bits, by chance or because they are equal, fill several shards.
    """
    count = len(digests)
    shards = math.ceil(count / (0.75 * most)) if count > most else 1
    bits = (shards - 1).bit_length()
    number = np.ascontiguousarray(digests[:, :4]).view(">u4")[:, 0].astype(np.int64) >> (32 - bits)
    parts = np.split(np.argsort(number, kind="stable"), np.searchsorted(np.sort(number), np.arange(1, 2**bits)))
    return [
        shard for part in parts for shard in np.split(part, range(most, len(part), most)) if len(shard) or not count
    ]


def _new_array(path: Path, dtype: str, shape: tuple[int, ...]) -> IO[bytes]:
    """Open a new .npy file, after its header. `np.save` hides why writing failed, such as a full disk."""
    file = path.open("wb")
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file
