"""The data sets' own files: IDX (MNIST, Fashion-MNIST), CIFAR batches, scikit-learn's digits. Bytes in, arrays out.

Files are untrusted; a wrong one is a `UserError`. CIFAR's pickles are read without executing anything they name.
"""

import io
import pickle
import pickletools
import re
import struct
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.data.archives import gunzip

_IDX = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_CIFAR10 = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")
_CIFAR100 = re.compile(r"(train|test)(\.bin)?")
_CIFAR_PIXELS = 3 * 32 * 32

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
    """Which of the data set's own files `name` is (its folder does not matter), or None."""
    base = name.rsplit("/", 1)[-1]
    if dataset in ("mnist", "fashion_mnist") and (match := _IDX.fullmatch(base)):
        return f"{match[1]}-{match[2]}"
    if dataset == "cifar10" and (match := _CIFAR10.fullmatch(base)):
        return match[1]
    if dataset == "cifar100" and (match := _CIFAR100.fullmatch(base)):
        return match[1]
    return "digits.csv" if dataset == "digits" and base == "digits.csv.gz" else None


def read_own_file(dataset: str, name: str, data: bytes) -> tuple[Images | None, Labels | None]:
    """The images, the labels or both that one of the data set's own files holds."""
    if name.endswith(".gz"):
        data = gunzip(data, name)
    if dataset == "digits":
        return _read_digits(data)
    if dataset in ("cifar10", "cifar100"):
        return _read_cifar(dataset, name, data)
    array = _read_idx(name, data)
    return (None, array.astype(np.int64)) if array.ndim == 1 else (array[..., np.newaxis], None)


def assemble(dataset: str, files: dict[str, tuple[Images | None, Labels | None]], classes: int) -> list[Part]:
    """Puts together what `read_own_file` gave for each name of `own_file`. Raises `UserError` where it does not fit."""
    missing = [name for name in OWN_FILES[dataset] if name not in files]
    if missing:
        raise UserError(f"data set {dataset}: {', '.join(missing)} missing in the source")
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
    for split, images, labels in pairs:
        if images is None or labels is None or len(images) != len(labels) or not len(images):
            raise UserError(f"data set {dataset}: the {split} files hold not one label for each image")
        if images.shape[1:] != (parts[0].images.shape[1:] if parts else images.shape[1:]):
            raise UserError(f"data set {dataset}: the images of its files differ in size")
        if labels.min() < 0 or labels.max() >= classes:
            raise UserError(f"data set {dataset}: a label of the {split} files is outside of 0 to {classes - 1}")
        parts.append(Part(split, images, labels))  # type: ignore[arg-type]
    return parts


def _read_digits(data: bytes) -> tuple[Images, Labels]:
    try:
        numbers = np.array([line.split(b",") for line in data.split()], np.int64)
    except (OverflowError, ValueError):  # rows of another length, no numbers, or too large ones
        numbers = np.empty((0, 0), np.int64)
    if numbers.ndim != 2 or numbers.shape[1] != 65:
        raise UserError("digits.csv.gz is not the table of digits that scikit-learn carries: make env")
    pixels = np.round(numbers[:, :-1] * (255 / 16)).astype(np.uint8)
    return pixels.reshape(-1, 8, 8, 1), numbers[:, -1]


def _read_idx(name: str, data: bytes) -> NDArray[np.uint8]:
    """An IDX file of bytes: (N,) labels or (N, H, W) images."""
    if len(data) < 4 or data[:3] != b"\0\0\x08" or data[3] not in (1, 3):
        raise UserError(f"{name} is not an IDX file of bytes")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise UserError(f"{name} is truncated: fetch it again")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    expected = start
    size = 1
    for length in shape:
        size *= length
    expected += size
    if len(data) != expected:
        raise UserError(f"{name} has {len(data):,} bytes but its header says {expected:,}: fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _read_cifar(dataset: str, name: str, data: bytes) -> tuple[Images, Labels]:
    if name.endswith(".bin"):
        label_bytes = 1 if dataset == "cifar10" else 2  # CIFAR-100: coarse, fine
        row = label_bytes + _CIFAR_PIXELS
        if len(data) % row:
            raise UserError(f"{name} is not a CIFAR file: {len(data):,} bytes are not a multiple of {row:,}")
        rows = np.frombuffer(data, np.uint8).reshape(-1, row)
        pixels, labels = rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64)
    else:
        pixels, labels = _read_pickled(name, data, b"labels" if dataset == "cifar10" else b"fine_labels")
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


# What pickles of arrays, lists, numbers and texts consist of. Others ask for memory before there are data for it, or
# build what recursion without an end would have to walk through.
_ALLOWED = """
PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINSTRING SHORT_BINSTRING BINBYTES
SHORT_BINBYTES BINUNICODE SHORT_BINUNICODE EMPTY_LIST EMPTY_TUPLE EMPTY_DICT APPEND APPENDS SETITEM SETITEMS TUPLE
TUPLE1 TUPLE2 TUPLE3 GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET
"""
_OPCODES = frozenset(_ALLOWED.split())
_MOST_TUPLES = 100  # a batch has about ten; in each other they are hashed by recursion


class _Recorded:
    """Stands for whatever a pickle names: it notes what it was given, and does nothing."""

    args: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *args: Any) -> "_Recorded":
        self = super().__new__(cls)
        self.args = args
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Recorded]:
        return _Recorded


def _check_opcodes(data: bytes) -> None:
    """Raises `ValueError` where the pickle asks for more than a batch needs."""
    tuples = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        tuples += opcode.name.startswith("TUPLE")
        # The reader's memo is an array as long as the largest index.
        far = opcode.name.endswith("BINPUT") and int(argument or 0) > number
        if opcode.name not in _OPCODES or far or tuples > _MOST_TUPLES:
            raise ValueError


def _read_pickled(name: str, data: bytes, label_key: bytes) -> tuple[NDArray[np.uint8], Labels]:
    """Pixels (N, 3072) and labels (N,) of a CIFAR batch, taken out of the pickle's recorded state."""
    try:
        _check_opcodes(data)
        batch = _InertUnpickler(io.BytesIO(data), encoding="bytes").load()
        batch = {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}
        _, shape, _, fortran, raw = batch[b"data"].state  # how numpy pickles an array
        if isinstance(raw, _Recorded):  # Python 3 writes bytes as _codecs.encode(text, "latin1") in old protocols
            raw = raw.args[0].encode("latin1")
        count, width = shape
        labels = batch[label_key]
        # Labels must be plain numbers: lists that share lists would grow without bound in an array.
        if not isinstance(labels, list) or len(labels) != count or any(type(label) is not int for label in labels):
            raise ValueError
        if width != _CIFAR_PIXELS or fortran or not isinstance(raw, bytes) or len(raw) != count * width:
            raise ValueError
        return np.frombuffer(raw, np.uint8).reshape(count, width), np.array(labels, np.int64)
    except Exception:  # a hostile pickle can raise anything
        raise UserError(f"{name} is not a whole CIFAR batch: fetch it again") from None
