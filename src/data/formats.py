"""Read the data sets' own files: IDX (MNIST, Fashion-MNIST), CIFAR batches, scikit-learn's digits.

Bytes in, arrays out. A file that is another than it should be is a `UserError`.
"""

import hashlib
import pickle
import re
import struct
import zlib
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.data.sources import SOURCES

_IDX = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_IDX_FILES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
OWN_FILES = {
    "digits": ("digits.csv",),
    "mnist": _IDX_FILES,
    "fashion_mnist": _IDX_FILES,
    "cifar10": (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"),
    "cifar100": ("train", "test"),
}

Images = NDArray[np.uint8]  # (N, H, W, C)
Labels = NDArray[np.int64]  # (N,)


class Part(NamedTuple):
    """Images that the data set keeps together, in its own order."""

    split: Literal["digits", "train", "test"]  # digits has no test set of its own
    images: Images
    labels: Labels


def own_file(dataset: str, name: str) -> str | None:
    """Return which of the data set's own files `name` is (its folder does not matter), or None."""
    base = name.rsplit("/", 1)[-1]
    if dataset in ("mnist", "fashion_mnist") and (match := _IDX.fullmatch(base)):
        return f"{match[1]}-{match[2]}"
    if dataset == "digits":
        base = base.removesuffix(".gz")
    return base if base in OWN_FILES.get(dataset, ()) else None


def read_own_file(dataset: str, name: str, data: bytes, max_bytes: int) -> tuple[Images | None, Labels | None]:
    """Return the images, the labels or both that one of the data set's own files holds.

    What is compressed may unpack to `max_bytes`.
    """
    if name.endswith(".gz"):
        decoder = zlib.decompressobj(wbits=31)
        try:
            data = decoder.decompress(data, max_bytes)
        except zlib.error as error:
            raise UserError(f"{name} is damaged ({error}): fetch it again") from None
        if not decoder.eof:
            reason = "is truncated: fetch it again"
            if decoder.unconsumed_tail:
                reason = f"unpacks to more than {max_bytes / 2**30:,.3g} GiB: raise data.max_gib if it should"
            raise UserError(f"{name} {reason}")
    if dataset == "digits":
        return _read_digits(data)
    if dataset in ("cifar10", "cifar100"):
        return _read_cifar(dataset, name, data)
    array = _read_idx(name, data)
    return (None, array.astype(np.int64)) if array.ndim == 1 else (array[..., np.newaxis], None)


def assemble(dataset: str, files: dict[str, tuple[Images | None, Labels | None]]) -> list[Part]:
    """Put together what `read_own_file` gave for each name of `own_file`. Raise `UserError` if it does not fit."""
    missing = [name for name in OWN_FILES[dataset] if name not in files]
    if missing:
        raise UserError(f"data set {dataset}: {', '.join(missing)} missing in the source: fetch the whole data set")
    parts: list[Part] = []
    if dataset == "digits":
        pairs = [("digits", *files["digits.csv"])]
    elif dataset in ("mnist", "fashion_mnist"):
        pairs = [
            (split, files[f"{prefix}-images"][0], files[f"{prefix}-labels"][1])
            for split, prefix in (("train", "train"), ("test", "t10k"))
        ]
    else:
        pairs = [("test" if name.startswith("test") else "train", *files[name]) for name in OWN_FILES[dataset]]
    classes = len(SOURCES[dataset].classes)
    for split, images, labels in pairs:
        if images is None or labels is None or len(images) != len(labels) or not len(images):
            raise UserError(
                f"data set {dataset}: the {split} files have different numbers of images and labels: fetch them again"
            )
        if images.shape[1:] != (parts[0].images.shape[1:] if parts else images.shape[1:]):
            raise UserError(f"data set {dataset}: the images of its files differ in size: get them again")
        if labels.min() < 0 or labels.max() >= classes:
            raise UserError(f"data set {dataset}: a label of the {split} files is outside of 0 to {classes - 1}")
        parts.append(Part(split, images, labels))  # type: ignore[arg-type]
    return parts


def _read_digits(data: bytes) -> tuple[Images, Labels]:
    try:
        numbers = np.array([line.split(b",") for line in data.split()], np.int64).reshape(-1, 65)
    except (OverflowError, ValueError):  # rows of another length, no numbers, or too large ones
        raise UserError("digits.csv.gz is not the table of digits that scikit-learn carries: make env") from None
    pixels = np.round(numbers[:, :-1] * (255 / 16)).astype(np.uint8)
    return pixels.reshape(-1, 8, 8, 1), numbers[:, -1]


def _read_idx(name: str, data: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of bytes: (N,) labels or (N, H, W) images."""
    if len(data) < 4 or data[:3] != b"\0\0\x08" or data[3] not in (1, 3):
        raise UserError(f"{name} is not an IDX file of bytes: fetch it again")
    start = 4 + 4 * data[3]
    try:
        shape = struct.unpack(f">{data[3]}I", data[4:start])
        return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
    except (struct.error, ValueError):
        raise UserError(f"{name} has not the length that its header says: fetch it again") from None


def _read_cifar(dataset: str, name: str, data: bytes) -> tuple[Images, Labels]:
    if hashlib.md5(data).hexdigest() != SOURCES[dataset].pickles[name.rsplit("/", 1)[-1]]:
        raise UserError(f"{name} is not the published file, and no other pickle is loaded: fetch it again")
    batch = pickle.loads(data, encoding="bytes")  # noqa: S301 (its checksum is the published one)
    pixels = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = batch[b"labels" if dataset == "cifar10" else b"fine_labels"]
    return np.ascontiguousarray(pixels), np.array(labels, np.int64)
