"""Open the prepared data set: uint8 images in shards, as memory maps, and `dataset.json`, which says what they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from src.core.errors import UserError
from src.core.paths import DATASET, PREPARED
from src.core.words import counted

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
SHARDS, LABELS = "images-{:05d}.npy", "labels.npy"
# A table of each image's `name`, `group` (null without groups), `digest`, and if it is a `copy_of_train`.
SAMPLES = "samples.parquet"
# What pydantic, pyarrow and numpy raise of a damaged file, numpy of a header also what reading Python raises.
_DAMAGE = (ValueError, TypeError, LookupError, EOFError, OverflowError, SyntaxError, TokenError, OSError)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageFormat(_Record):
    """Height, width and channels (1 or 3) of every prepared image, and how photos were brought to that size."""

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    channels: Literal[1, 3]
    resize: Literal["crop", "squash", "pad"] | None  # None: the images were this size already


class SplitRecord(_Record):
    count: int
    per_class: dict[str, int]
    md5: dict[str, str]  # of each file of the split's folder, by name


class Example(_Record):
    """One of the images that show the same picture: the `index`-th of a split."""

    split: SplitName
    index: int
    name: str


class DuplicateSets(_Record):
    """Numbers of sets of images that show the same picture, and some of them to look at."""

    images: int  # of all sets together
    sets: int
    conflicting: int  # sets whose images have different labels
    beside_train: dict[SplitName, int]  # images of validation and of test that are in one set with images of train
    examples: list[list[Example]]

    def __str__(self) -> str:
        if not self.sets:
            return "none"
        sets = f"{self.images:,} images in {counted(self.sets, 'set')}"
        words = [f"{sets}, {self.conflicting:,} of them with different labels"]
        words += [f"{n:,} {split} images are among those of train" for split, n in self.beside_train.items() if n]
        return "; ".join(words)


class Duplicates(_Record):
    equal: DuplicateSets  # pixel by pixel
    near: DuplicateSets | None  # not all of them equal; None: they were not looked for


class Dataset(_Record):
    """Content of `dataset.json`. `mean` and `std` are per channel over the training images, pixels in [0, 1]."""

    name: str
    classes: list[str]
    image: ImageFormat
    mean: list[float]
    std: list[float]
    splits: dict[SplitName, SplitRecord]
    duplicates: Duplicates
    unreadable: list[str]


class Shards:
    """Read like one array (N, H, W, C), but by single indices, slices and indices (M,) alone: of several memory maps.

    What is read is a copy.
    """

    def __init__(self, arrays: Sequence[NDArray[np.uint8]]) -> None:
        self.arrays = arrays
        self._starts = np.cumsum([0, *map(len, arrays)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]), *arrays[0].shape[1:])
        self.dtype = arrays[0].dtype
        self.nbytes = sum(array.nbytes for array in arrays)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return chain.from_iterable(self.arrays)

    def __getitem__(self, key: Any, /) -> NDArray[np.uint8]:
        if isinstance(key, int | np.integer | slice):
            chosen = range(len(self))[key]
            indices = np.array([chosen] if isinstance(chosen, int) else chosen, np.int64)
        else:
            indices = np.asarray(key)
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)
        of_shard = np.searchsorted(self._starts, indices, side="right") - 1
        for shard in np.unique(of_shard):
            places = np.flatnonzero(of_shard == shard)
            images[places] = self.arrays[shard][indices[places] - self._starts[shard]]
        return images[0] if isinstance(key, int | np.integer) else images


class LabelledImages(NamedTuple):
    images: NDArray[np.uint8]  # (N, H, W, C), a read-only memory map; of more than one shard it is `Shards`
    labels: NDArray[np.int64]  # (N,)


def split_folder(split: SplitName) -> Path:
    """Return the folder of a split: its files are `SHARDS`, `LABELS` (N,) and `SAMPLES`."""
    return PREPARED / split


def read_names(split: SplitName) -> list[str]:
    """Return the name of each image of a split within the source, or "train/00017" where the source numbers them."""
    return _column(split, "name")


def read_identity(split: SplitName) -> dict[str, list[str]]:
    """Return what identifies the images of a split beside their names: `digest` and, if there are groups, `group`.

    A digest is 12 hexadecimal digits, which are the same for equal pixels.
    """
    groups = _column(split, "group")
    known = {"digest": [digest[:12] for digest in _column(split, "digest")]}
    return known | {"group": groups} if groups and None not in groups else known


def read_copies(split: SplitName) -> NDArray[np.bool_]:
    """Tell for each image of a split (N,) if train has an equal or nearly equal one."""
    return np.array(_column(split, "copy_of_train"), np.bool_)


def _column(split: SplitName, column: str) -> list[Any]:
    import pyarrow.parquet  # takes a tenth of a second, and few need names

    path = split_folder(split) / SAMPLES
    with _damage_reported(path):
        return list(pyarrow.parquet.read_table(path, columns=[column])[column].to_pylist())


def read_dataset() -> Dataset:
    """Read `dataset.json`. Raise `UserError` if it is not one that the split stage has written."""
    with _damage_reported(DATASET):
        return Dataset.model_validate_json(DATASET.read_bytes())


def open_split(split: SplitName) -> LabelledImages:
    """Open a split. Raise `UserError` if a file is no array, or shorter than its header says."""
    folder = split_folder(split)
    paths = sorted(folder.glob("images-*.npy")) or [folder / SHARDS.format(0)]  # the one that is missing
    arrays = [_map(path) for path in paths]
    images = arrays[0] if len(arrays) == 1 else cast(NDArray[np.uint8], Shards(arrays))
    return LabelledImages(images, _map(folder / LABELS))


def _map(path: Path) -> NDArray[Any]:
    with _damage_reported(path):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    """Raise `UserError` for what is raised of a damaged file; a missing one stays `OSError`."""
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # From DVC's cache, else from the source.
        raise UserError(f"{path} is damaged: remove it and run dvc repro, which brings it back") from None
