"""Read the data sets' own files: IDX (MNIST, Fashion-MNIST), CIFAR batches, scikit-learn's digits."""

import hashlib
import pickle
import struct
import zlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.data.archives import too_large
from src.data.sources import SOURCES

_IDX_FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
OWN_FILES: Mapping[str, tuple[str, ...]] = {
    "digits": ("digits.csv",),
    "mnist": _IDX_FILES,
    "fashion_mnist": _IDX_FILES,
    "cifar10": tuple(SOURCES["cifar10"].pickles),
    "cifar100": tuple(SOURCES["cifar100"].pickles),
}

Images = NDArray[np.uint8]  # (N, H, W, C)
Labels = NDArray[np.int64]  # (N,)


class Part(NamedTuple):
    split: Literal["digits", "train", "test"]  # digits has no test set of its own
    images: Images
    labels: Labels


def own_file(dataset: str, name: str) -> str | None:
    """Return which of `OWN_FILES` the file `name` is (its folder does not matter), or None."""
    base = name.rpartition("/")[2].removesuffix(".gz").replace(".idx", "-idx")  # some unpack to train-images.idx3-ubyte
    return base if base in OWN_FILES.get(dataset, ()) else None


def read_own_files(dataset: str, files: dict[str, bytes], max_bytes: int) -> list[Part]:
    """Return all images of a data set, from the contents of its `OWN_FILES`, which are taken out of `files`.

    Each may unpack to `max_bytes`. Raise `UserError` if one is missing or damaged, or if they do not fit together.
    """
    if missing := [name for name in OWN_FILES[dataset] if name not in files]:
        raise UserError(f"data set {dataset}: {', '.join(missing)} missing in the source: fetch the whole data set")
    contents = ((name, _unpacked(name, files.pop(name), max_bytes)) for name in OWN_FILES[dataset])
    if dataset == "digits":
        parts = [Part("digits", *_read_digits(data)) for _, data in contents]
    elif dataset.startswith("cifar"):
        *batches, test = [_read_cifar(dataset, name, data) for name, data in contents]
        images, labels = map(np.concatenate, zip(*batches, strict=True))
        parts = [Part("train", images, labels), Part("test", *test)]
    else:
        images, labels, test_images, test_labels = (_read_idx(name, data) for name, data in contents)
        parts = [
            Part("train", images[..., np.newaxis], labels.astype(np.int64)),
            Part("test", test_images[..., np.newaxis], test_labels.astype(np.int64)),
        ]
    classes = len(SOURCES[dataset].classes)
    for split, images, labels in parts:
        if len(images) != len(labels) or not len(images):
            reason = "have different numbers of images and labels"
        elif images.shape[1:] != parts[0].images.shape[1:]:
            reason = "have images of another size than the others"
        elif not 0 <= labels.min() <= labels.max() < classes:
            reason = f"have a label outside of 0 to {classes - 1}"
        else:
            continue
        raise UserError(f"data set {dataset}: the {split} files {reason}: fetch them again")
    return parts


def _unpacked(name: str, data: bytes, max_bytes: int) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    decoder = zlib.decompressobj(wbits=31)
    try:
        data = decoder.decompress(data, max_bytes)
    except zlib.error as error:
        raise UserError(f"{name} is damaged ({error}): fetch it again") from None
    if decoder.unconsumed_tail:
        raise too_large(name, max_bytes)
    if not decoder.eof:
        raise UserError(f"{name} is truncated: fetch it again")
    return data


def _read_digits(data: bytes) -> tuple[Images, Labels]:
    numbers = np.array([line.split(b",") for line in data.split()], np.int64)
    pixels = np.round(numbers[:, :-1] * (255 / 16)).astype(np.uint8)
    return pixels.reshape(-1, 8, 8, 1), numbers[:, -1]


def _read_idx(name: str, data: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of bytes: (N,) labels or (N, H, W) images, as its name says."""
    dimensions = 3 if "idx3" in name else 1
    start = 4 + 4 * dimensions
    try:
        if data[:4] != bytes([0, 0, 8, dimensions]):
            raise ValueError("another kind")
        shape = struct.unpack(f">{dimensions}I", data[4:start])
        return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
    except (struct.error, ValueError):
        raise UserError(f"{name} is no IDX file of bytes, or not as long as its header says: fetch it again") from None


def _read_cifar(dataset: str, name: str, data: bytes) -> tuple[Images, Labels]:
    if hashlib.md5(data).hexdigest() != SOURCES[dataset].pickles[name]:
        raise UserError(f"{name} is not the published file, and no other pickle is loaded: fetch it again")
    batch = pickle.loads(data, encoding="bytes")  # noqa: S301 (its checksum is the published one)
    pixels = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = batch[b"labels" if dataset == "cifar10" else b"fine_labels"]
    return np.ascontiguousarray(pixels), np.array(labels, np.int64)
