"""Read from file names the class of each image, and if the source itself puts it into train, validation or test.

Read are class folders, with or without `train/`, `validation/` and `test/` (also `training_set/`, `seg_test/`,
`val2017/`) above or right below them, and flat folders of `class.number.ext`; all of it possibly below common top
folders. What else is below a class folder is its own. Names can mean several things: a reading that does not fit all of
them is an error.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.data.images import SUFFIXES
from src.data.splitting import FREE, TEST, VALIDATION

# What folders and files of a split are called.
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), FREE),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
_SPLIT = re.compile(
    rf"(?:(.+)[ _-])?({'|'.join(SPLIT_WORDS)})(?:[ _-]?(?:set|data|dataset|images?|imgs|photos|split))?[ _-]?\d*",
    re.IGNORECASE,
)
_FLAT = re.compile(r"(.+)\.\d+\.[^.]+")  # dog.183.jpg
# Folders that hold classes, or no photos for training, more often than they are a class.
_CONTAINERS = {"data", "dataset", "datasets", "images", "imgs", "photos", "pictures", "masks", "docs", "doc", "assets"}
_GENERATED = {"__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "#snapshot", "thumbs.db", "desktop.ini"}


class Layout(NamedTuple):
    classes: list[str]
    labels: NDArray[np.int64]  # (N,)
    official: NDArray[np.int8]  # (N,), values of src.data.splitting
    groups: list[str] | None = None  # (N,), where the source has groups: images of one group stay together


def read_layout(names: Sequence[str], classes: Sequence[str] | None, others: Sequence[str] = ()) -> Layout:
    """Return classes and splits of images by their `names`, whose folders are separated by `/`.

    `classes`: those of a known data set in official order, which folders must match in letters and digits. None: the
    classes are what is found, in natural order (numbers by value). `others` are names of files that were left out and
    of folders, which end in `/`. Raise `UserError` naming what does not fit, and a class none of whose files were read.
    """
    shown, which = _examples(names)
    parts, official = _official_splits(shown)
    found = _classes(parts, shown)
    if classes is None:
        _check_depth(parts)
        trained = {name for name, split in zip(found, official, strict=True) if split == FREE}
        if strangers := sorted(set(found) - trained):  # its folders may be no classes
            raise UserError(
                f"the source's validation or test folder has {_quoted(strangers, 3)}, which its train folder "
                f"({_quoted(sorted(trained), 3)}) lacks: give all the same class folders"
            )
    _check_missing(shown, parts, found, others)
    layout = number_classes(found, official, classes)
    return Layout(layout.classes, layout.labels[which], layout.official[which])


def splits_by_folder(names: Sequence[str]) -> list[int]:
    """Return the split of each image by the folders in its name alone."""
    shown, which = _examples(names)
    _, official = _official_splits(shown)
    return [official[index] for index in which]


def _examples(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return names of which each stands for all that differ in their number alone, and which one stands for each name.

    So millions of names are understood by a few: one of each folder, and of what `class.number.ext` names in it.
    """
    chosen: dict[tuple[str, str], int] = {}
    places = ((folder, _class_in(base)) for folder, _, base in (name.rpartition("/") for name in names))
    which = np.fromiter((chosen.setdefault(place, len(chosen)) for place in places), np.int64, len(names))
    return [names[index] for index in np.unique(which, return_index=True)[1]], which


def number_classes(found: Sequence[str], official: Sequence[int], classes: Sequence[str] | None) -> Layout:
    """Return the layout of images whose class names and splits are known; `classes` as in `read_layout`."""
    names = sorted(set(found), key=_natural)
    number = {name: label for label, name in enumerate(names)}
    if classes:  # `T-shirt/top` cannot be a folder, `t-shirt_top` can
        known = {re.sub(r"[\W_]", "", name).lower(): label for label, name in enumerate(classes)}
        number = {name: known.get(re.sub(r"[\W_]", "", name).lower(), -1) for name in names}
        if strangers := [name for name in names if number[name] < 0]:
            raise UserError(
                f"{_quoted(strangers)} is not among the data set's classes ({_quoted(classes)}): "
                "rename it, or use data.name: image_folder"
            )
    labels = np.array([number[name] for name in found], np.int64)
    return Layout(list(classes or names), labels, np.array(official, np.int8))


def split_named(name: str) -> int:
    """Return the split that a table calls `name`; empty: ours to place. Raise `UserError` if it is none."""
    match = _SPLIT.fullmatch(name)
    if name and not match:
        raise UserError(f"the table of labels has the split {name!r}: write train, validation or test")
    return SPLIT_WORDS[match[2].lower()] if match else FREE


def is_generated(name: str) -> bool:
    """Tell if a file, or a folder in its name, is hidden, or was made by a system or a NAS: no photo of the user's."""
    return any(part.startswith(".") or part.lower() in _GENERATED for part in name.split("/"))


def _class_in(base: str) -> str:
    """Return the class in a file's name such as `dog.183.jpg`, empty if there is none."""
    match = _FLAT.fullmatch(base)
    return match[1] if match else ""


def _without_top(parts: list[list[str]]) -> list[list[str]]:
    """Return names without the folders that all share, but never without the folder that is the class."""
    while len({part[0] for part in parts}) == 1 and parts[0][0].lower() not in SPLIT_WORDS and _has_more(parts):
        parts = [part[1:] for part in parts]
    return parts


def _has_more(parts: list[list[str]]) -> bool:
    """Tell if the names hold classes also without their first folder."""
    depth = min(len(part) for part in parts)
    return depth > 2 or (depth == 2 and len({_class_in(part[-1]) for part in parts} - {""}) > 1)


def _official_splits(names: Sequence[str]) -> tuple[list[list[str]], list[int]]:
    """Return the parts of names, without common folders and that of their split, and the split of each.

    A lone `train` beside other classes is a class.
    """
    parts = _without_top([name.split("/") for name in names])
    if all(len(part) > 2 and _SPLIT.fullmatch(part[1]) and not _SPLIT.fullmatch(part[0]) for part in parts):
        parts = [[part[1], part[0], *part[2:]] for part in parts]  # cat/train/1.jpg
    tops = {part[0] if len(part) > 1 else "" for part in parts}
    matches = {top: match for top in sorted(tops) if (match := _SPLIT.fullmatch(top))}
    if len({match[1] for match in matches.values()}) > 1:  # seg_train, seg_test; not bullet_train, crash_test
        matches = {}
    split = {top: SPLIT_WORDS[match[2].lower()] for top, match in matches.items()}
    if strangers := tops - split.keys():
        if len(set(split.values())) > 1:
            what = _quoted(sorted(strangers - {""})) or "image files"
            raise UserError(f"beside its folders {_quoted(list(split))} the source has {what}: remove them")
        return parts, [FREE] * len(parts)
    if FREE not in split.values():
        raise UserError(f"the source has {_quoted(list(split))} but no train folder: add one")
    below = [part[1:] for part in parts]
    if all(part[0].lower() == part[1].lower() for part in parts if len(part) > 2) and _has_more(below):
        below = [part[1:] for part in below]  # train/train/cat, as "Extract all" makes
    return _without_top(below), [split[part[0]] for part in parts]


def _classes(parts: list[list[str]], names: Sequence[str]) -> list[str]:
    """Return the class of each image by its folder, or by its name if no image is in a folder."""
    flat = [name for name, part in zip(names, parts, strict=True) if len(part) == 1]
    if not flat:
        return [part[0] for part in parts]
    if len(flat) < len(names):
        raise UserError(f"{_quoted(flat)} lies beside the class folders: move it into one or remove it")
    found = [_class_in(part[0]) for part in parts]
    if strangers := [name for name, group in zip(names, found, strict=True) if re.search(r"^$|\.\d+$", group)]:
        raise UserError(
            f"no class can be told for {_quoted(strangers)}: put images into one folder for each class, list them in "
            "labels.csv with the columns file and label, or name them class.number.jpg: with one number, without dates"
        )
    return found


def _check_depth(parts: list[list[str]]) -> None:
    """Raise `UserError` if one of the class folders seems to hold the classes itself, or if all of them may."""
    direct = {part[0] for part in parts if len(part) == 2}
    below: dict[str, set[str]] = {}
    for part in parts:
        if part[0] not in direct and len(part) > 2:
            below.setdefault(part[0], set()).add(part[1])
    for name, folders in below.items():
        if len(folders) > 1 and (direct or name.lower() in _CONTAINERS or _SPLIT.fullmatch(name)):
            raise UserError(
                f"{name!r} holds only folders ({_quoted(sorted(folders), 3)}) and stands beside "
                f"{_quoted(sorted({part[0] for part in parts} - {name}), 3)}: if its folders are the classes, give "
                f"{name!r} alone as the source; if it is a class, move its images up"
            )
    inner = next(iter(below.values()), set())
    if len(below) > 1 < len(inner) and not direct and all(folders == inner for folders in below.values()):
        raise UserError(
            f"{_quoted(sorted(below), 3)} all hold the folders {_quoted(sorted(inner), 3)}: either may be the classes: "
            "move the classes to the top and the photos right into them, or list them in labels.csv (file,label)"
        )


def _check_missing(names: Sequence[str], parts: list[list[str]], found: list[str], others: Sequence[str]) -> None:
    """Raise `UserError` if a class or a folder beside the class folders has no image that was read, only `others`."""
    missing: Counter[str] = Counter()
    if len(parts[0]) == 1:
        photos = [other.rpartition("/")[2] for other in others if other.lower().endswith(tuple(SUFFIXES))]
        missing.update(name for name in map(_class_in, photos) if name not in ("", *found))
    else:
        folders = {PurePosixPath(name).parents[len(part) - 2] for name, part in zip(names, parts, strict=True)}
        parents = {folder.parent for folder in folders}
        places: Counter[str] = Counter()
        for other in others:
            place, _, base = other.rpartition("/")
            places[place] += bool(base)  # a folder counts nothing
        for place, count in places.items():
            for folder in (PurePosixPath(place), *PurePosixPath(place).parents):
                beside = folder.parent in parents and folder not in folders | parents
                if beside and not is_generated(str(folder)):
                    missing[str(folder)] += count
    if missing:
        listing = [f"{name!r} ({counted(count, 'file')})" for name, count in missing.items()]
        raise UserError(
            f"beside the classes lies {listed(listing)} without a photo that can be read: add photos (JPEG, PNG, …), "
            "or remove it if it is no class"
        )


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts `2` before `10`, and `class2` before `class10`."""
    pieces = re.split(r"([0-9]{1,18})", name)  # texts and numbers in turn
    return [int(piece) if odd % 2 else piece for odd, piece in enumerate(pieces)], name  # `1` and `01` differ


def listed(items: Sequence[str], most: int = 10) -> str:
    """Join the first items, and say how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most:,} more" if len(items) > most else "")


def counted(number: int, thing: str) -> str:
    """Return `2 images`, `1 image`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _quoted(names: Sequence[str], most: int = 10) -> str:
    return listed([repr(name) for name in names], most)
