"""The data sets' own files, and that our table of them agrees with torchvision's."""

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import idx
from hypothesis import given, settings
from hypothesis import strategies as st

from src.core.errors import UserError
from src.data.formats import assemble, own_file, read_own_file
from src.data.sources import SOURCES, RemoteFile

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
LABELS = [0, 3, 9, 1]


def cifar(protocol: int = 2, **changes: Any) -> bytes:
    """A batch as Python 3 pickles it; the official files are protocol 2 of Python 2."""
    return pickle.dumps({"data": PIXELS, "labels": LABELS, "fine_labels": LABELS} | changes, protocol)


def test_the_table_is_torchvisions() -> None:
    from torchvision import datasets

    for name, reference in (("mnist", datasets.MNIST), ("fashion_mnist", datasets.FashionMNIST)):
        expected = [
            RemoteFile(file, md5, tuple(mirror + file for mirror in reference.mirrors))
            for file, md5 in reference.resources
        ]
        assert list(SOURCES[name].files) == expected
        assert list(SOURCES[name].classes) == [entry.split(" - ")[0] for entry in reference.classes]
    for name, cifar_reference in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        file = RemoteFile(cifar_reference.filename, cifar_reference.tgz_md5, (cifar_reference.url,))
        assert SOURCES[name].files == (file,)
    assert [len(SOURCES[name].classes) for name in ("cifar10", "cifar100")] == [10, 100]
    assert sorted(SOURCES["cifar100"].classes) == list(SOURCES["cifar100"].classes)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_a_cifar_pickle_is_read(dataset: str, protocol: int) -> None:
    images, labels = read_own_file(dataset, "x/data_batch_1", cifar(min(protocol, 4)))
    assert images is not None
    assert labels is not None
    assert images.shape == (4, 32, 32, 3)
    assert images[2, 5, 7].tolist() == PIXELS[2].reshape(3, 32, 32)[:, 5, 7].tolist()
    assert labels.tolist() == LABELS


def test_a_cifar_bin_is_read() -> None:
    label = np.array(LABELS, np.uint8)[:, np.newaxis]
    for dataset, rows in (("cifar10", [label, PIXELS]), ("cifar100", [label * 0, label, PIXELS])):
        images, labels = read_own_file(dataset, "test.bin", np.hstack(rows).tobytes())
        assert labels is not None
        assert labels.tolist() == LABELS
        assert images is not None
        assert (images == read_own_file("cifar10", "x", cifar())[0]).all()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["data", "labels", "beside"])
def test_nothing_in_a_pickle_runs(tmp_path: Path, where: str) -> None:
    data = cifar(2, **{where: Evil(tmp_path / "proof")})
    if where == "beside":
        read_own_file("cifar10", "x", data)
    else:
        with pytest.raises(UserError, match="not a whole CIFAR batch"):
            read_own_file("cifar10", "x", data)
    assert not (tmp_path / "proof").exists()
    pickle.loads(data)  # it would have run
    assert (tmp_path / "proof").exists()


@pytest.mark.parametrize(
    "code",
    [
        b"Nr\xff\xff\xff\x7f0",  # a memo of 2,147,483,648 places, 32 GiB
        b"\x96" + (2**40).to_bytes(8, "little"),  # a byte array of 1 TiB
        b"}(" + b")" + b"\x85" * 1_000_000 + b"Nu0",  # tuples in each other as a key: hashed by recursion in C
        b"]" + b"2" * 1000,
        b"\x8f(Nq\x00\x90" + b"0",
    ],
)
def test_a_pickle_that_asks_for_too_much_is_refused_before_it_is_read(code: bytes) -> None:
    data = cifar(2)
    with pytest.raises(UserError, match="not a whole CIFAR batch"):
        read_own_file("cifar10", "x", data[:2] + code + data[2:])


def test_a_damaged_table_of_digits_is_a_fault() -> None:
    for table in (b"1,2,3\n", b"a,b\n", b""):
        with pytest.raises(UserError, match=r"digits\.csv\.gz"):
            read_own_file("digits", "digits.csv", table)


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_mutated_pickles_are_read_or_refused(place: int, change: bytes) -> None:
    data = bytearray(cifar())
    place = place if place < 200 else len(data) - (place - 199) % 200
    data[place : place + len(change)] = change
    with contextlib.suppress(UserError):
        read_own_file("cifar10", "x", bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\3\0\0\0\1",
        b"\0\0\x0d\1\0\0\0\0",
        idx(np.zeros((3, 2, 2), np.uint8))[:-1],
        idx(np.zeros((3, 2, 2), np.uint8)) + b"x",
        b"\0\0\x08\3" + b"\xff" * 12,
    ],
)
def test_bad_idx_is_a_fault(data: bytes) -> None:
    with pytest.raises(UserError, match="raw/train-images"):
        read_own_file("mnist", "raw/train-images-idx3-ubyte", data)


def test_own_files_are_known_by_name() -> None:
    assert own_file("mnist", "a/b/train-images-idx3-ubyte.gz") == "train-images"
    assert own_file("fashion_mnist", "t10k-labels.idx1-ubyte") == "t10k-labels"
    assert own_file("cifar10", "cifar-10-batches-py/data_batch_3") == "data_batch_3"
    assert own_file("cifar100", "cifar-100-python/train") == "train"
    assert own_file("cifar10", "cifar-100-python/train") is None
    assert own_file("image_folder", "train-images-idx3-ubyte") is None


def test_files_must_be_complete_and_agree() -> None:
    images, labels = np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 2])
    whole: dict[str, Any] = {
        "train-images": (images, None),
        "train-labels": (None, labels),
        "t10k-images": (images, None),
        "t10k-labels": (None, labels),
    }
    assert [part.split for part in assemble("mnist", whole, 10)] == ["train", "test"]
    for changed, message in (
        ({"t10k-labels": (None, labels[:2])}, "one label for each"),
        ({"t10k-labels": (None, labels + 8)}, "outside of 0 to 9"),
        ({"t10k-images": (images[:, 1:], None)}, "differ in size"),
        ({"t10k-images": (None, labels)}, "one label for each"),
    ):
        with pytest.raises(UserError, match=message):
            assemble("mnist", whole | changed, 10)
    del whole["t10k-images"]
    with pytest.raises(UserError, match="t10k-images missing"):
        assemble("mnist", whole, 10)
