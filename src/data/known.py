"""Know data sets: their classes in official order, their files with mirrors and checksums, and how those are read.

URLs and MD5s are those of torchvision.datasets, held equal by a test: to import it takes three seconds. MD5 tells
damage; `data.sha256` pins a file that nobody may replace.
"""

import hashlib
import pickle
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.data.archives import damage_reported, too_large
from src.data.layout import Layout
from src.data.splitting import FREE, TEST


class PublishedSet(NamedTuple):
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]  # best first; each has all files
    files: Mapping[str, str]  # MD5 by name
    pickles: Mapping[str, str]  # MD5 of those within, by name: no other pickle is loaded


_DIGITS = tuple("0123456789")
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""  # the fine labels

PUBLISHED_SETS = {
    "digits": PublishedSet(_DIGITS, (), {"digits.csv.gz": ""}, {}),  # comes with scikit-learn
    "mnist": PublishedSet(
        _DIGITS,
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        {},
    ),
    "fashion_mnist": PublishedSet(
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        {},
    ),
    "cifar10": PublishedSet(
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        ("https://www.cs.toronto.edu/~kriz/",),
        {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    ),
    "cifar100": PublishedSet(
        tuple(_CIFAR100.split()),
        ("https://www.cs.toronto.edu/~kriz/",),
        {"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
        {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    ),
}

# Both sets call their files the same; MD5 of this one, unpacked.
_TRAIN_IMAGES = {"6bbc9ace898e44ae57da46a324031adb": "mnist", "f4a8712d7a061bf5bd6d2ca38dc4d50a": "fashion_mnist"}

Images = NDArray[np.uint8]  # (N, H, W, C)
Labels = NDArray[np.int64]  # (N,)


class PublishedImages(NamedTuple):
    """Hold the N images of a data set's published files, those of its test set last."""

    parts: list[Images]  # without a test set one, else two, as (N, H, W, C)
    names: NDArray[Any]  # (N,), of numpy's StringDType
    layout: Layout


def published_files(dataset: str) -> list[str]:
    """Return the names of the files in which a data set is published, unpacked."""
    known = PUBLISHED_SETS[dataset]
    return list(known.pickles or (name.removesuffix(".gz") for name in known.files))


def published_file(dataset: str, name: str) -> str | None:
    """Return which of `published_files` the file `name` is (its folder does not matter), or None."""
    base = name.rpartition("/")[2].removesuffix(".gz").replace(".idx", "-idx")  # some unpack to train-images.idx3-ubyte
    return base if dataset in PUBLISHED_SETS and base in published_files(dataset) else None


def read_published_files(dataset: str, files: dict[str, bytes], max_bytes: int) -> PublishedImages:
    """Return all images of a data set, from the contents of its `published_files`, which are taken out of `files`.

    Each may unpack to `max_bytes`. Raise `UserError` if one is missing or damaged, or if they do not fit together.
    """
    if missing := [name for name in published_files(dataset) if name not in files]:
        raise UserError(f"data set {dataset}: {', '.join(missing)} missing in the source: fetch the whole data set")
    # One by one, so that no file is held in memory beside its arrays.
    parts = _read_parts(dataset, ((name, _content(name, files, max_bytes)) for name in published_files(dataset)))
    classes = PUBLISHED_SETS[dataset].classes
    size = next(iter(parts.values()))[0].shape[1:]
    for split, (images, labels) in parts.items():
        fits = len(images) == len(labels) > 0 and images.shape[1:] == size
        if not fits or not 0 <= labels.min() <= labels.max() < len(classes):
            raise UserError(
                f"data set {dataset}: images and labels of the {split} files do not fit together, or images have "
                f"other sizes, or a label is not below {len(classes)}: fetch them again"
            )
    counts = [len(labels) for _, labels in parts.values()]
    digits = 4 if dataset == "digits" else 5
    names = (f"{split}/{number:0{digits}d}" for split, n in zip(parts, counts, strict=True) for number in range(n))
    labels = np.concatenate([labels for _, labels in parts.values()])
    official = np.repeat([TEST if split == "test" else FREE for split in parts], counts).astype(np.int8)
    return PublishedImages(
        parts=[images for images, _ in parts.values()],
        names=np.fromiter(names, np.dtypes.StringDType(), len(labels)),
        layout=Layout(list(classes), labels, official),
    )


def _read_parts(dataset: str, contents: Iterator[tuple[str, bytes]]) -> dict[str, tuple[Images, Labels]]:
    """Return images and labels of train and test, from all files with their names, in order."""
    if dataset == "digits":  # without a test set of its own
        return {"digits": _read_digits(next(contents)[1])}
    if dataset.startswith("cifar"):
        *batches, test = [_read_cifar(dataset, name, content) for name, content in contents]
        images, labels = map(np.concatenate, zip(*batches, strict=True))
        return {"train": (images, labels), "test": test}
    arrays = [_read_idx(dataset, name, content) for name, content in contents]
    train_images, train_labels, test_images, test_labels = arrays
    return {
        "train": (train_images[..., np.newaxis], train_labels.astype(np.int64)),
        "test": (test_images[..., np.newaxis], test_labels.astype(np.int64)),
    }


def _content(name: str, files: dict[str, bytes], max_bytes: int) -> bytes:
    """Take the file `name` out of `files`, and unpack it if it is packed by gzip."""
    data = files.pop(name)
    if data.startswith(b"\x1f\x8b"):
        with damage_reported(name):
            decoder = zlib.decompressobj(wbits=31)
            data = decoder.decompress(data, max_bytes)
            if decoder.unconsumed_tail:
                raise too_large(name, max_bytes)
            if not decoder.eof:
                raise EOFError("its end is missing")
    return data


def _read_digits(data: bytes) -> tuple[Images, Labels]:
    numbers = np.array([line.split(b",") for line in data.split()], np.int64)
    pixels = np.round(numbers[:, :-1] * (255 / 16)).astype(np.uint8)
    return pixels.reshape(-1, 8, 8, 1), numbers[:, -1]


def _read_idx(dataset: str, name: str, data: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of bytes: (N,) labels or (N, H, W) images, as its name says."""
    found = _TRAIN_IMAGES.get(hashlib.md5(data).hexdigest(), dataset)
    if found != dataset:
        raise UserError(f"{name} is that of {found}: set data.name: {found}, or give the files of {dataset}")
    dimensions = 3 if "idx3" in name else 1
    with damage_reported(name):
        if data[:4] != bytes([0, 0, 8, dimensions]):
            raise ValueError("no IDX file of bytes")
        shape = np.frombuffer(data, ">u4", dimensions, offset=4)
        return np.frombuffer(data, np.uint8, offset=4 + shape.nbytes).reshape(shape)


def _read_cifar(dataset: str, name: str, data: bytes) -> tuple[Images, Labels]:
    if hashlib.md5(data).hexdigest() != PUBLISHED_SETS[dataset].pickles[name]:
        raise UserError(f"{name} is not the published file, and no other pickle is loaded: fetch it again")
    batch = pickle.loads(data, encoding="bytes")  # noqa: S301 (its checksum is the published one)
    pixels = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    labels = batch[b"labels" if dataset == "cifar10" else b"fine_labels"]
    return np.ascontiguousarray(pixels), np.array(labels, np.int64)
