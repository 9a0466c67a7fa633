"""Read from file names the class of each image, and if the source itself puts it into train, validation or test.

Read are class folders, with or without `train/`, `validation/` (or `val/`, `valid/`) and `test/` above them, and flat
folders of `class.number.ext`; all of it possibly below common top folders. What is below a class folder is its own.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.data.splitting import FREE, TEST, VALIDATION

_SPLITS = {
    "train": FREE,
    "training": FREE,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
_FLAT = re.compile(r"(.+)\.\d+\.[^.]+")  # dog.183.jpg


class Layout(NamedTuple):
    classes: list[str]
    labels: NDArray[np.int64]  # (N,)
    official: NDArray[np.int8]  # (N,), values of src.data.splitting


def read_layout(names: Sequence[str], classes: Sequence[str] | None) -> Layout:
    """Return classes and splits of images by their `names`, whose folders are separated by `/`.

    `classes`: those of a known data set in official order, which folders must match in letters and digits. None: the
    classes are what is found, in natural order (numbers by value). Raise `UserError` naming what does not fit.
    """
    parts = _without_top([name.split("/") for name in names])
    official = _official_splits(parts)
    if any(official) or all(_in_split(part) for part in parts):
        parts = [part[1:] for part in parts]
    found = _classes(parts, names)
    spelling = str if classes is None else _simple
    if classes is None:
        classes = sorted(set(found), key=_natural)
    number = {spelling(name): label for label, name in enumerate(classes)}
    if strangers := sorted({name for name in found if spelling(name) not in number}, key=_natural):
        raise UserError(
            f"{_quoted(strangers)} is not among the data set's classes ({_quoted(classes)}): "
            "rename it, or use data.name: image_folder"
        )
    labels = np.array([number[spelling(name)] for name in found], np.int64)
    return Layout(list(classes), labels, np.array(official, np.int8))


def _without_top(parts: list[list[str]]) -> list[list[str]]:
    """Return names without the folders that all share, but never without the folder that is the class."""
    while len({part[0] for part in parts}) == 1 and not _in_split(parts[0]):
        depth = min(len(part) for part in parts)
        flat = depth == 2 and len({match[1] for part in parts if (match := _FLAT.fullmatch(part[-1]))}) > 1
        if depth < 3 and not flat:
            break
        parts = [part[1:] for part in parts]
    return parts


def _in_split(part: list[str]) -> bool:
    return len(part) > 1 and part[0].lower() in _SPLITS


def _official_splits(parts: list[list[str]]) -> list[int]:
    """Return where the source puts each image. A lone folder `train` beside other classes is a class (of vehicles)."""
    tops = {part[0].lower() if len(part) > 1 else "" for part in parts}
    splits = {_SPLITS[top] for top in tops if top in _SPLITS}
    strangers = sorted(tops - _SPLITS.keys())
    if not strangers:
        if FREE not in splits:
            raise UserError(f"the source has {_quoted(sorted(tops))} but no train folder: add one")
        return [_SPLITS[part[0].lower()] for part in parts]
    if len(splits) > 1:
        what = "image files" if strangers == [""] else _quoted([name for name in strangers if name])
        raise UserError(
            f"beside its folders {_quoted(sorted(tops & _SPLITS.keys()))} the source has {what}: remove them"
        )
    return [FREE] * len(parts)


def _classes(parts: list[list[str]], names: Sequence[str]) -> list[str]:
    """Return the class of each image by its folder, or by its name if no image is in a folder."""
    flat = {len(part) == 1 for part in parts}
    if flat == {False}:
        return [part[0] for part in parts]
    if flat == {True}:
        matches = [_FLAT.fullmatch(part[0]) for part in parts]
        strangers = [name for name, match in zip(names, matches, strict=True) if not match]
        if strangers:
            raise UserError(
                f"no class can be told for {_quoted(strangers)}: put images into one folder for each class, "
                "or name them class.number.jpg"
            )
        return [match[1] for match in matches if match]
    strangers = [name for name, part in zip(names, parts, strict=True) if len(part) == 1]
    raise UserError(f"{_quoted(strangers)} lies beside the class folders: move it into one or remove it")


def _simple(name: str) -> str:
    """Keep letters and digits only: `T-shirt/top` cannot be a folder, `t-shirt_top` can."""
    return re.sub(r"[\W_]", "", name).lower()


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts `2` before `10`, and `class2` before `class10`."""
    pieces = re.split(r"([0-9]+)", name)
    key = [
        (0, len(number), number) if piece.isdecimal() else (1, 0, piece)
        for piece in pieces
        if piece
        for number in [piece.lstrip("0")]
    ]
    return [*key, (2, 0, name)]  # `1` and `01` are different names


def listed(items: Sequence[str], most: int = 10) -> str:
    """Join the first items, and say how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most:,} more" if len(items) > most else "")


def counted(number: int, thing: str) -> str:
    """Return `2 images`, `1 image`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _quoted(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names])
