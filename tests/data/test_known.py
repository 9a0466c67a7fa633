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
from src.data.known import PUBLISHED_SETS, PublishedImages, published_files, read_published_files
from src.data.splitting import FREE, TEST

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
LABELS = [0, 3, 9, 1]
IMAGES = idx(np.zeros((3, 4, 4), np.uint8))
OF_IMAGES = idx(np.arange(3, dtype=np.uint8))
MNIST = dict(zip(published_files("mnist"), (IMAGES, OF_IMAGES, IMAGES, OF_IMAGES), strict=True))


def mnist(name: str = "", data: bytes = b"", max_bytes: int = 10**6) -> PublishedImages:
    """Read files of three images for training and three as test, one of them with other contents."""
    return read_published_files("mnist", MNIST | ({f"{name}-ubyte": data} if name else {}), max_bytes)


def batch(key: bytes) -> bytes:
    """A batch as Python 2 pickled the official ones."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1K\4M\0\x0c\x86"
    array += b"cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    array += b"\x89T" + struct.pack("<I", PIXELS.size) + PIXELS.tobytes() + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in LABELS) + b"e"
    return b"\x80\2}(U\4data" + array + b"U" + bytes([len(key)]) + key + labels + b"u."


def test_the_table_is_torchvisions() -> None:
    from torchvision import datasets

    for name, reference in (("mnist", datasets.MNIST), ("fashion_mnist", datasets.FashionMNIST)):
        assert list(PUBLISHED_SETS[name].mirrors) == reference.mirrors
        assert list(PUBLISHED_SETS[name].files.items()) == reference.resources
        assert list(PUBLISHED_SETS[name].classes) == [entry.split(" - ")[0] for entry in reference.classes]
    for name, cifar_reference in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        ((file, md5),) = PUBLISHED_SETS[name].files.items()
        assert (file, md5) == (cifar_reference.filename, cifar_reference.tgz_md5)
        assert [mirror + file for mirror in PUBLISHED_SETS[name].mirrors] == [cifar_reference.url]
        assert PUBLISHED_SETS[name].pickles == dict((*cifar_reference.train_list, *cifar_reference.test_list))
    assert [len(PUBLISHED_SETS[name].classes) for name in ("cifar10", "cifar100")] == [10, 100]
    assert sorted(PUBLISHED_SETS["cifar100"].classes) == list(PUBLISHED_SETS["cifar100"].classes)


@pytest.mark.parametrize(("dataset", "key"), [("cifar10", b"labels"), ("cifar100", b"fine_labels")])
def test_published_batches_are_read(dataset: str, key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours count as the published ones."""
    known = dict.fromkeys(PUBLISHED_SETS[dataset].pickles, hashlib.md5(batch(key)).hexdigest())
    monkeypatch.setitem(PUBLISHED_SETS, dataset, PUBLISHED_SETS[dataset]._replace(pickles=known))
    (train, test), names, layout = read_published_files(dataset, dict.fromkeys(known, batch(key)), 10**6)
    assert train.shape == (4 * (len(known) - 1), 32, 32, 3)
    assert test[2, 5, 7].tolist() == PIXELS[2].reshape(3, 32, 32)[:, 5, 7].tolist()
    assert layout.labels.tolist() == LABELS * len(known)
    assert names[-4:].tolist() == [f"test/0000{number}" for number in range(4)]


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_no_pickle_of_others_is_loaded(tmp_path: Path) -> None:
    data = pickle.dumps({"data": Evil(tmp_path / "proof")}, 2)
    with pytest.raises(UserError, match=r"^data_batch_1 is not the published file, .*: fetch it again$"):
        read_published_files("cifar10", dict.fromkeys(published_files("cifar10"), data), 10**6)
    assert not (tmp_path / "proof").exists()
    pickle.loads(data)  # it would have run
    assert (tmp_path / "proof").exists()


def test_what_a_gzip_unpacks_to_is_bounded_and_checked() -> None:
    data = gzip.compress(OF_IMAGES)
    assert mnist("train-labels-idx1", data).layout.labels.tolist() == [0, 1, 2] * 2
    with pytest.raises(UserError, match=r"^train-labels-idx1-ubyte unpacks to more than .*: raise data\.max_gib"):
        mnist("train-labels-idx1", data, len(OF_IMAGES) - 1)
    for damaged in (data[:-1], data[:2] + b"nonsense"):
        with pytest.raises(UserError, match=r"^train-labels-idx1-ubyte is truncated or damaged \(.*: fetch"):
            mnist("train-labels-idx1", damaged)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\3\0\0\0\1",
        b"\0\0\x0d\3" + IMAGES[4:],
        OF_IMAGES,
        IMAGES[:-1],
        IMAGES + b"x",
        b"\0\0\x08\3" + b"\xff" * 12,
    ],
)
def test_bad_idx_is_an_error(data: bytes) -> None:
    with pytest.raises(UserError, match=r"^train-images-idx3-ubyte is truncated or damaged"):
        mnist("train-images-idx3", data)


def test_files_must_be_complete_and_agree() -> None:
    assert mnist().layout.official.tolist() == [FREE] * 3 + [TEST] * 3
    for name, data in (
        ("t10k-labels-idx1", OF_IMAGES[:7] + b"\2\0\0"),
        ("t10k-labels-idx1", OF_IMAGES[:-1] + b"\x0a"),  # not below 10
        ("t10k-images-idx3", idx(np.zeros((3, 5, 4), np.uint8))),  # of another size
    ):
        with pytest.raises(UserError, match="data set mnist: images and labels of the test files do not fit together"):
            mnist(name, data)
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte missing"):
        read_published_files("mnist", dict(list(MNIST.items())[:2]), 10**6)
