"""The data sets' own files, and that our table of them agrees with torchvision's."""

import gzip
import hashlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import idx

from src.core.errors import UserError
from src.data import formats
from src.data.formats import assemble
from src.data.sources import SOURCES, RemoteFile

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
LABELS = [0, 3, 9, 1]


def read_own_file(dataset: str, name: str, data: bytes) -> tuple[formats.Images | None, formats.Labels | None]:
    return formats.read_own_file(dataset, name, data, 10**6)


def batch(key: bytes) -> bytes:
    """A batch as Python 2 pickled the official ones."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1K\4M\0\x0c\x86"
    array += b"cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array += b"\x89T" + struct.pack("<I", PIXELS.size) + PIXELS.tobytes() + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in LABELS) + b"e"
    return b"\x80\2}(U\4data" + array + b"U" + bytes([len(key)]) + key + labels + b"u."


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our batches count as the published ones."""
    for dataset, name, key in (("cifar10", "data_batch_1", b"labels"), ("cifar100", "train", b"fine_labels")):
        known = {name: hashlib.md5(batch(key)).hexdigest()}
        monkeypatch.setitem(SOURCES, dataset, SOURCES[dataset]._replace(pickles=known))


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
        assert SOURCES[name].pickles == dict((*cifar_reference.train_list, *cifar_reference.test_list))
    assert [len(SOURCES[name].classes) for name in ("cifar10", "cifar100")] == [10, 100]
    assert sorted(SOURCES["cifar100"].classes) == list(SOURCES["cifar100"].classes)


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("dataset", "name", "key"), [("cifar10", "data_batch_1", b"labels"), ("cifar100", "train", b"fine_labels")]
)
def test_a_published_batch_is_read(dataset: str, name: str, key: bytes) -> None:
    images, labels = read_own_file(dataset, f"x/{name}", batch(key))
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
        assert (images == PIXELS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)).all()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_no_pickle_of_others_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps({"data": Evil(tmp_path / "proof")}, 2)
    with pytest.raises(UserError, match=r"^x/data_batch_1 is not the published file, .*: give the \.bin files$"):
        read_own_file("cifar10", "x/data_batch_1", data)
    published = {"data_batch_1": hashlib.md5(data).hexdigest()}
    monkeypatch.setitem(SOURCES, "cifar10", SOURCES["cifar10"]._replace(pickles=published))
    with pytest.raises(pickle.UnpicklingError, match=r"mkdir is no part of an array"):
        read_own_file("cifar10", "x/data_batch_1", data)
    assert not (tmp_path / "proof").exists()
    pickle.loads(data)  # it would have run
    assert (tmp_path / "proof").exists()


def test_a_damaged_table_of_digits_is_an_error() -> None:
    for table in (b"1,2,3\n", b"a,b\n"):
        with pytest.raises(UserError, match=r"digits\.csv\.gz"):
            read_own_file("digits", "digits.csv", table)


def test_what_a_gzip_unpacks_to_is_bounded_and_checked() -> None:
    data = gzip.compress(idx(np.arange(100, dtype=np.uint8)))
    _, labels = read_own_file("mnist", "x.gz", data)
    assert labels is not None
    assert labels.tolist() == list(range(100))
    with pytest.raises(UserError, match=r"x\.gz unpacks to more than .*: raise data\.max_gib"):
        formats.read_own_file("mnist", "x.gz", data, 99)
    with pytest.raises(UserError, match=r"x\.gz is truncated: fetch it again"):
        read_own_file("mnist", "x.gz", data[:-1])
    with pytest.raises(UserError, match=r"x\.gz is damaged"):
        read_own_file("mnist", "x.gz", b"nonsense")


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
def test_bad_idx_is_an_error(data: bytes) -> None:
    with pytest.raises(UserError, match="raw/train-images"):
        read_own_file("mnist", "raw/train-images-idx3-ubyte", data)


def test_files_must_be_complete_and_agree() -> None:
    images, labels = np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 2])
    complete: dict[str, Any] = {
        "train-images": (images, None),
        "train-labels": (None, labels),
        "t10k-images": (images, None),
        "t10k-labels": (None, labels),
    }
    assert [part.split for part in assemble("mnist", complete)] == ["train", "test"]
    for changed, message in (
        ({"t10k-labels": (None, labels[:2])}, "different numbers of images and labels"),
        ({"t10k-labels": (None, labels + 8)}, "outside of 0 to 9"),
        ({"t10k-images": (images[:, 1:], None)}, "differ in size"),
        ({"t10k-images": (None, labels)}, "different numbers of images and labels"),
    ):
        with pytest.raises(UserError, match=message):
            assemble("mnist", complete | changed)
    del complete["t10k-images"]
    with pytest.raises(UserError, match="t10k-images missing"):
        assemble("mnist", complete)
