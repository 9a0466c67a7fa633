"""Read from the paths of photos the class of each, and if the source itself puts it into train, validation or test.

A folder that all photos lie in says nothing and is passed over. The first folder that divides them is the class; where
such folders are called `train`, `test` and the like they are the split, and the next one is the class. Folders below a
class belong to it. Where no folder divides the photos they are called `class.number.ext`.
Where folders may be read in two ways, that is an error.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.core.words import counted, listed, quoted
from src.data.prepared import SPLITS
from src.data.splitting import FREE, TEST, VALIDATION
from src.data.tables import TABLES

_FLAT = re.compile(r"(?!.*\.\d+\.\d+\.)(.+)\.\d+\.[^.]+")  # dog.183.jpg
# Folders that hold classes, a part of them, or no photos for training, more often than they are a class.
_CONTAINER = re.compile(
    r"(?:data|datasets?|(?:jpeg)?images?|imgs?|photos|pictures|masks)[ _-]?\d*"
    r"|(?:.*[ _-])?part[ _-]?\d+|.+-\d{8}T\d+Z(?:-\d+)?-\d{3}"  # Google Drive's parts end in -001
    "|annotations|trimaps|labels|docs|figures|assets",
    re.IGNORECASE,
)
# Folders called by a number, a date (2023 May) or a camera (100APPLE) are no classes where class folders hold them.
_ALBUM = re.compile(r"[\W\d_]+|(?:19|20)\d\d[\W_].*|\d{3}[A-Z\d_]{5}|(?i:dcim|camera)")
_EITHER = (
    "either may be the classes: move the classes to the top and the photos right into them, give one of the folders "
    "alone as data.source, or list the photos in labels.csv (file,label,group)"
)
# What folders and files of a split are called.
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), FREE),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
# training_set, val2017, seg_test, test_cats: the split stands in the second group, what else is said in the others.
_SPLIT = re.compile(
    rf"(?:(.+)[ _-])?({'|'.join(SPLIT_WORDS)})(?:[ _-]?(?:set|data|dataset|images?|imgs|photos|split))?[ _-]?\d*"
    r"(?:[ _-](.+))?",
    re.IGNORECASE,
)
_GENERATED = {"__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "#snapshot", "thumbs.db", "desktop.ini"}


class Layout(NamedTuple):
    classes: list[str]
    labels: NDArray[np.int64]  # (N,)
    official: NDArray[np.int8]  # (N,), values of src.data.splitting
    groups: list[str] | None = None  # (N,), where the source has groups: images of one group stay together


def read_layout(photos: Sequence[str], classes: Sequence[str] | None, others: Sequence[str]) -> Layout:
    """Return classes and splits of photos by their names, whose folders are separated by `/`.

    `classes`: those of a known data set in official order, which folders must match in letters and digits. None: the
    classes are what is found, in natural order (numbers by value). `others` are names of files that are no photos, and
    of folders, which end in `/`. Raise `UserError` naming what does not fit, and a class folder without a photo.
    """
    paths, official = official_splits(photos)
    in_folders = any(len(path) > 1 for path in paths)
    found = [path[0] if len(path) > 1 else "" if in_folders else _class_in(path[0]) for path in paths]
    if unclear := [name for name, group in zip(photos, found, strict=True) if not group]:
        if in_folders:
            raise UserError(
                f"beside the class folders lies {quoted(unclear)}: move it into one, or take it out, for src.predict"
            )
        raise UserError(
            f"no class can be told for {quoted(unclear)}: put images into a folder for each of several classes, list "
            "them in labels.csv with the columns file and label (a table of another kind: save it as CSV), or name "
            "them class.number.jpg: with one number, without dates; take those without a class out, for src.predict"
        )
    if in_folders and classes is None:
        _check_folders(paths, [name for name in others if name.lower().endswith(TABLES)])
    _check_empty_folders(photos, others, set(found))
    return number_classes(found, official, classes)


def official_splits(names: Sequence[str]) -> tuple[list[list[str]], list[int]]:
    """Return the paths of `names` without folders of splits and without those that all share, and the split of each."""
    paths = [name.split("/") for name in names]
    depth = min(map(len, paths)) - 1  # of the folders that every path has
    dividing = [level for level in range(depth) if len({path[level] for path in paths}) > 1]
    paths = [[*(path[level] for level in dividing), *path[depth:]] for path in paths]
    official = [FREE] * len(paths)
    if len(dividing) > 1 and _folder_splits({path[1] for path in paths}):  # cat/train/1.jpg
        paths = [[path[1], path[0], *path[2:]] for path in paths]
    # Repeatedly, since "Extract all" makes train/train/cat.
    while split := _folder_splits({path[0] if len(path) > 1 else "" for path in paths}):
        official = [split[path[0]] for path in paths]
        paths = [path[1:] for path in paths]
    return paths, official


def _folder_splits(folders: set[str]) -> dict[str, int]:
    """Return the split of each of the folders, empty if they are none: alike but for it, such as seg_train, seg_test.

    Raise `UserError` if some are alike but for the split, and others stand beside them.
    """
    alike: dict[str, dict[str, int]] = {}
    for folder in sorted(folders):
        if match := _SPLIT.fullmatch(folder):
            rest = " ".join(filter(None, match.group(1, 3)))
            alike.setdefault(rest, {})[folder] = SPLIT_WORDS[match[2].lower()]
    for splits in alike.values():
        if len(splits) == len(folders):
            return splits
        if len(set(splits.values())) > 1:
            beside = quoted(sorted(folders - splits.keys() - {""}), 3) or "image files"
            raise UserError(
                f"the folders {quoted(list(splits), 3)} differ in the split alone, but beside them the source has "
                f"{beside}: remove what is no split (one is called train, validation or test), put the classes of each "
                "split into one folder (train/cats, train/dogs), or say each photo's split in labels.csv "
                "(file,label,split)"
            )
    return {}


def split_in(name: str) -> int | None:
    """Return the split that a name such as `test` or `seg_test` says; None if there is none, or more (`test_cats`)."""
    match = _SPLIT.fullmatch(name)
    return SPLIT_WORDS[match[2].lower()] if match and not match[3] else None


def _class_in(base: str) -> str:
    """Return the class in a file's name such as `dog.183.jpg`, empty if there is none."""
    match = _FLAT.fullmatch(base)
    return match[1] if match else ""


def _check_folders(paths: list[list[str]], tables: list[str]) -> None:
    """Raise `UserError` if the first folders may not be the classes. Print how many folders lie below them."""
    folders = {tuple(path[:-1]) for path in paths}
    tops = sorted({folder[0] for folder in folders})
    if containers := list(filter(_CONTAINER.fullmatch, tops)):
        raise UserError(
            f"no class can be told from {quoted(containers, 3)}: give the folder that holds the class folders alone "
            "as data.source, put the class folders of all splits at one depth, list the photos in labels.csv "
            "(file,label), or rename folders that are classes"
        )
    stems = {re.sub(r"\d+", "", top) for top in tops}
    if tables and len(tops) > 1 and len(stems) == 1 and re.search(r"[^\W_]", stems.pop()):
        raise UserError(
            f"{quoted(tops, 3)} differ in a number alone, and {quoted(tables, 3)} is not used: if it has the classes, "
            "call its columns file and label; if the folders are the classes, remove it"
        )
    direct = {folder[0] for folder in folders if len(folder) == 1}
    if direct and (nested := sorted(set(tops) - direct)):
        raise UserError(
            f"{quoted(nested, 3)} holds only folders and stands beside {quoted(sorted(direct), 3)}: {_EITHER}"
        )
    holders: dict[str, set[str]] = {}  # by the name of a folder, the first folders that are called so or hold it
    for folder in folders:
        for name in folder:
            holders.setdefault(name, set()).add(folder[0])
    shared = sorted(name for name, tops_of_it in holders.items() if len(tops_of_it) > 1)
    if not all(map(_ALBUM.fullmatch, tops)):
        shared = [name for name in shared if not _ALBUM.fullmatch(name)]
    if shared:
        raise UserError(f"several of the folders {quoted(tops, 3)} are or hold {quoted(shared, 3)}: {_EITHER}")
    if like_splits := [top for top in tops if _is_like_a_split(top, paths)]:
        raise UserError(
            f"beside {quoted(sorted({*tops} - {*like_splits}), 3)} stands {quoted(like_splits)}, called like a split: "
            "put all class folders into train, validation and test, take photos without a class out, for src.predict, "
            "or rename it if it is a class"
        )
    if below := sorted(holders.keys() - set(tops)):
        print(
            f"below the class folders lie {counted(len(below), 'folder')} ({quoted(below, 3)}), taken for no classes: "
            "if they are, move them up, in place of the folders that hold them"
        )


def _is_like_a_split(top: str, paths: list[list[str]]) -> bool:
    """Tell if a first folder is called like a split. Among vehicles `train` is a class, unless it holds classes."""
    word = re.sub(r"[\W\d_]+", "", top).lower()
    if word not in ("train", "training"):
        return word in ("test", "testing", "val", "validation")
    inside = {path[1] if len(path) > 2 else _class_in(path[1]) for path in paths if path[0] == top}
    return len(inside - {""}) > 1


def _check_empty_folders(photos: Sequence[str], others: Sequence[str], classes: set[str]) -> None:
    """Raise `UserError` if a folder beside class folders has no photo, or one beside splits that is called as they."""
    filled: dict[str, set[str]] = {}  # by folder, those in it that have photos
    for parent, base in _folders(photos):
        filled.setdefault(parent, set()).add(base)
    empty = []
    for parent, base in sorted(_folders(others)):
        beside = filled.get(parent, set())
        if not beside or base in beside or is_generated(base):
            continue
        if all(split_in(other) is not None for other in beside):
            missing = split_in(base) is not None
        else:
            missing = len(beside) > 1 and classes.isdisjoint(parent.split("/"))
        if missing:
            empty.append(f"{parent}{base}")
    if empty:
        raise UserError(
            f"beside the classes or splits lies {quoted(empty)} without a photo: add photos (JPEG, PNG, …), or "
            "remove it if it is neither, such as the labels of a detection data set"
        )


def _folders(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each folder of the paths once: the path to it, which ends in `/` or is empty, and its name."""
    places = {name.rpartition("/")[0] for name in names}
    above = {place[:end] for place in places for end, letter in enumerate(f"{place}/") if letter == "/"}
    for place in above - {""}:
        folder, _, base = place.rpartition("/")
        yield f"{folder}/" if folder else "", base


def number_classes(found: Sequence[str], official: Sequence[int], classes: Sequence[str] | None) -> Layout:
    """Return the layout of images whose class names and splits are known; `classes` as in `read_layout`."""
    if FREE not in official:
        raise UserError(
            "the source has no photo of train: add a train folder, or correct the column split of its tables, or their "
            "names such as test.csv"
        )
    names = sorted(set(found), key=_natural)
    number = {name: label for label, name in enumerate(names)}
    if classes:  # `T-shirt/top` cannot be a folder, `t-shirt_top` can
        known = {re.sub(r"[\W_]", "", name).lower(): label for label, name in enumerate(classes)}
        number = {name: known.get(re.sub(r"[\W_]", "", name).lower(), -1) for name in names}
        if strangers := [name for name in names if number[name] < 0]:
            raise UserError(
                f"{quoted(strangers)} is not among the data set's classes ({quoted(classes)}): "
                "rename it, or use data.name: image_folder"
            )
    labels = np.array([number[name] for name in found], np.int64)
    return Layout(list(classes or names), labels, np.array(official, np.int8))


def without_unreadable(layout: Layout, readable: int) -> Layout:
    """Return the layout of the first photos alone, which can be read.

    Raise `UserError` if a class or split has only others.
    """
    labels, official = layout.labels[:readable], layout.official[:readable]
    lost = [repr(layout.classes[label]) for label in np.setdiff1d(layout.labels, labels)]
    lost += [SPLITS[split] for split in np.setdiff1d(layout.official, official)]
    if lost:
        raise UserError(f"none of the photos of {listed(lost, 3)} can be read: repair, replace or remove them")
    return Layout(layout.classes, labels, official, layout.groups and layout.groups[:readable])


def is_generated(name: str) -> bool:
    """Tell if a file, or a folder in its name, is hidden, or was made by a system or a NAS: no photo of the user's."""
    return any(part.startswith(".") or part.lower() in _GENERATED for part in name.split("/"))


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts `2` before `10`, and `class2` before `class10`."""
    pieces = re.split(r"([0-9]{1,18})", name)  # texts and numbers in turn
    return [int(piece) if odd % 2 else piece for odd, piece in enumerate(pieces)], name  # `1` and `01` differ
