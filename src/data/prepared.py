"""Open the prepared data set: uint8 arrays as memory maps, and `dataset.json`, which says what they are."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.core.errors import UserError
from src.core.paths import DATASET, PREPARED

SplitName = Literal["train", "validation", "test"]
DAMAGED = "remove it and run dvc repro, which brings it back"  # from DVC's cache, else from the source
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageFormat(_Record):
    """Height, width and channels (1 or 3) of every prepared image, and how photos were brought to that size."""

    height: Annotated[int, Field(ge=1, lt=2**20)]  # torch counts weights in 64 bits
    width: Annotated[int, Field(ge=1, lt=2**20)]
    channels: Literal[1, 3]
    resize: Literal["crop", "squash", "pad"] | None  # None: the images were this size already


class SplitRecord(_Record):
    count: int
    per_class: dict[str, int]
    images_md5: str
    labels_md5: str
    names: list[str]  # file name within the source, or "train/00017" where the source numbers its images
    groups: list[str] | None  # the match of split.groups for every image


class Duplicates(_Record):
    dropped: list[str]  # of a group with an image that the source puts into test or validation
    together: list[list[str]]  # equal images that were kept in one split
    conflicting: list[list[str]]  # equal images with different labels


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


class LabelledImages(NamedTuple):
    images: NDArray[np.uint8]  # (N, H, W, C), a read-only memory map
    labels: NDArray[np.int64]  # (N,)


def array_paths(split: SplitName) -> tuple[Path, Path]:
    """Return the paths of a split's image and label arrays."""
    return PREPARED / f"{split}.images.npy", PREPARED / f"{split}.labels.npy"


def read_dataset() -> Dataset:
    """Read `dataset.json`. Raise `UserError` if it is not one that the split stage has written."""
    try:
        return Dataset.model_validate_json(DATASET.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{DATASET} is damaged ({place}{': ' if place else ''}{first['msg']}): {DAMAGED}") from None


def open_split(split: SplitName) -> LabelledImages:
    """Open a split. Raise `UserError` if a file is no array of images or labels, or shorter than its header says."""
    images, labels = array_paths(split)
    return LabelledImages(_map(images, np.dtype(np.uint8), 4), _map(labels, np.dtype(np.int64), 1))


def _map(path: Path, dtype: "np.dtype[Any]", dimensions: int) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OverflowError) as error:  # numpy's reader, and that of literals in a header
        raise UserError(f"{path} is not a complete array ({error}): {DAMAGED}") from None
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != dimensions:
        raise UserError(f"{path} is not an array of {dtype} with {dimensions} dimensions: {DAMAGED}")
    return array
