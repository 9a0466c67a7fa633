"""Read from file names the class of each image, and if the source itself puts it into train, validation or test.

Read are class folders, with or without `train/`, `validation/` and `test/` (also `training_set/`, `seg_test/`,
`val2017/`) above or right below them, and flat folders of `class.number.ext`; all of it possibly below common top
folders. Class folders are at one depth, and a photo in a folder below belongs to its class too. Names can mean several
things: where they may be read in two ways, that is an error.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.core.errors import UserError
from src.core.words import counted, listed
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
_CLASS_AND_SPLIT = re.compile(rf"(?:(.+)[ _-])?({'|'.join(SPLIT_WORDS)})(?:[ _-](.+))?", re.IGNORECASE)  # test_cats
_FLAT = re.compile(r"(.+)\.\d+\.[^.]+")  # dog.183.jpg
_BY_TABLE = ", or say each photo's split in labels.csv (file,label,split)"
_EITHER = (
    "either may be the classes: move the classes to the top and the photos right into them, give one of the folders "
    "alone as the source, or list the photos in labels.csv (file,label,group)"
)
# Folders that hold classes, or no photos for training, more often than they are a class.
_CONTAINER = re.compile(
    r"(?:data|dataset|image|img|jpegimage|photo|picture|mask)s?[ _-]?\d*"
    "|trimaps?|segmentationclass|annotations|labels|docs?|figures|assets?",
    re.IGNORECASE,
)
# Folders by date (2023-05-01, 2023 holiday) and of cameras (100APPLE, 202305__) are no classes where classes hold them.
_SESSION = re.compile(r"(?:19|20)\d\d(?:[\W_].*|\d+)?|\d{3}[A-Z\d_]{5}|(?i:dcim|camera)")
_NUMBER = re.compile(r"[\W\d_]+")
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
    parts, official = official_splits(shown)
    found = _classes(parts)
    if unclear := [name for name, group in zip(shown, found, strict=True) if not group]:
        if any(len(part) > 1 for part in parts):
            raise UserError(f"{_quoted(unclear)} lies beside the class folders: move it into one or remove it")
        raise UserError(
            f"no class can be told for {_quoted(unclear)}: put images into one folder for each class, list them in "
            "labels.csv with the columns file and label (a table of another kind: save it as CSV), or name them "
            "class.number.jpg: with one number, without dates; take those without a class out, for src.predict"
        )
    if classes is None:
        if len(parts[0]) > 1:
            _check_folders(parts)
        trained = {name for name, split in zip(found, official, strict=True) if split == FREE}
        if strangers := sorted(set(found) - trained):  # its folders may be no classes
            raise UserError(
                f"the source's validation or test folder has {_quoted(strangers, 3)}, which its train folder "
                f"({_quoted(sorted(trained), 3)}) lacks: give all the same class folders, or take images "
                "without a class out, for src.predict"
            )
    _check_missing(shown, parts, found, others)
    layout = number_classes(found, official, classes)
    return Layout(layout.classes, layout.labels[which], layout.official[which])


def official_splits(names: Sequence[str]) -> tuple[list[list[str]], list[int]]:
    """Return the parts of names, without common folders and that of their split, and the split of each.

    A lone `train` beside other classes is a class.
    """
    parts = _without_top([name.split("/") for name in names])
    if all(len(part) > 2 and part[0].lower() == part[1].lower() and _SPLIT.fullmatch(part[0]) for part in parts):
        parts = [part[1:] for part in parts]  # train/train/cat, as "Extract all" makes
    if all(len(part) > 2 and _SPLIT.fullmatch(part[1]) and not _SPLIT.fullmatch(part[0]) for part in parts):
        parts = [[part[1], part[0], *part[2:]] for part in parts]  # cat/train/1.jpg
    tops = {part[0] if len(part) > 1 else "" for part in parts}
    matches = {top: match for top in sorted(tops) if (match := _SPLIT.fullmatch(top))}
    if len({match[1] for match in matches.values()}) > 1:  # seg_train, seg_test; not bullet_train, crash_test
        matches = {top: match for top, match in matches.items() if not match[1]}
    split = {top: SPLIT_WORDS[match[2].lower()] for top, match in matches.items()}
    if strangers := tops - split.keys():
        if len(set(split.values())) > 1:
            what = _quoted(sorted(strangers - {""})) or "image files"
            raise UserError(f"beside its folders {_quoted(list(split))} the source has {what}: remove them{_BY_TABLE}")
        sides: dict[str, dict[int, str]] = {}  # by class and split: train_cats, test_cats
        for match in filter(None, map(_CLASS_AND_SPLIT.fullmatch, sorted(tops))):
            name = " ".join(filter(None, match.group(1, 3)))
            sides.setdefault(name, {})[SPLIT_WORDS[match[2].lower()]] = match[0]
        for name, folders in sides.items():
            if len(folders) > 1:
                remedy = f"name such folders train/{name}, test/{name}{_BY_TABLE}"
                raise UserError(f"{_quoted(list(folders.values()))} seem to be one class in several splits: {remedy}")
        return parts, [FREE] * len(parts)
    if FREE not in split.values():
        raise UserError(f"the source has {_quoted(list(split))} but no train folder: add one{_BY_TABLE}")
    return _without_top([part[1:] for part in parts]), [split[part[0]] for part in parts]


def _examples(names: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return a few names that stand for all, and for each name the index of the one that stands for it.

    One stands for all in its folder, or for those in it that are called `class.number.ext` with the same class.
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
        raise UserError(f"a label has the split {name!r}, by its table or file: write train, validation or test")
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
    while len({part[0] for part in parts}) == 1 and parts[0][0].lower() not in SPLIT_WORDS:
        depth = min(len(part) for part in parts)
        flat = depth == 2 and len({_class_in(part[-1]) for part in parts} - {""}) > 1
        if depth <= 2 and not flat:
            break
        parts = [part[1:] for part in parts]
    return parts


def _classes(parts: list[list[str]]) -> list[str]:
    """Return the class of each image by its folder, or by its name if no image is in a folder; empty if it has none."""
    if any(len(part) > 1 for part in parts):
        return [part[0] if len(part) > 1 else "" for part in parts]
    found = [_class_in(part[0]) for part in parts]
    return ["" if re.search(r"\.\d+$", name) else name for name in found]  # cat.2023.05.1.jpg


def _check_folders(parts: list[list[str]]) -> None:
    """Raise `UserError` if the first folders may not be the classes. Print how many folders below them are none."""
    below: dict[str, list[list[str]]] = {}
    for part in parts:
        below.setdefault(part[0], []).append(part[1:])
    tops = sorted(below)
    direct = {part[0] for part in parts if len(part) == 2}
    for top, rest in below.items():
        alone = sorted(set(_classes(_without_top(rest))))  # the classes if `top` were the source
        doubtful = _CONTAINER.fullmatch(top) or _SPLIT.fullmatch(top) or (direct and top not in direct)
        if doubtful and len(tops) > 1 < len(alone) and "" not in alone:
            beside = _quoted([other for other in tops if other != top], 3)
            raise UserError(f"{top!r} holds only {_quoted(alone, 3)} and stands beside {beside}: {_EITHER}")
    if all(map(_CONTAINER.fullmatch, tops)):
        raise UserError(
            f"no class can be told from {_quoted(tops, 3)}: put images into one folder for each class, list them in "
            "labels.csv (file,label), or rename the folders if they are the classes"
        )
    for part in parts:
        if also := (set(part[1:-1]) & below.keys()) - {part[0]}:
            raise UserError(f"{part[0]!r} holds a folder {min(also)!r}, and another class has that name: {_EITHER}")
    inner = _without_top([part[1:] for part in parts])
    names = _classes(inner)
    others = set(names) - below.keys()  # cat/cat.1.jpg tells the same twice
    common = set.intersection(*(set(part[1:-1]) for part in parts))  # folders in every path, which divide nothing
    if len(others) > 1 and "" not in others and (len(inner[0]) > 1 or are_parts(tops)):
        numbered = all(map(_NUMBER.fullmatch, tops))
        known = below.keys() if are_parts(tops) else below.keys() | common
        holders: dict[str, set[str]] = {}  # the tops that hold what may be a class
        for part, name in zip(parts, names, strict=True):
            for folder in {name, *part[1:-1]} - known:
                if not _SESSION.fullmatch(folder) and (numbered or not _NUMBER.fullmatch(folder)):
                    holders.setdefault(folder, set()).add(part[0])
        if shared := sorted(folder for folder, held in holders.items() if len(held) > 1):
            raise UserError(f"several of the folders {_quoted(tops, 3)} hold {_quoted(shared, 3)}: {_EITHER}")
    within = {part[0] for part in inner if len(part) > 1} - below.keys() - common
    if shown := sorted(folder for folder in within if not _SESSION.fullmatch(folder)):
        print(
            f"below the class folders lie {counted(len(shown), 'folder')} ({_quoted(shown, 3)}), taken for no "
            "classes: if they are, move them to the top"
        )


def _check_missing(names: Sequence[str], parts: list[list[str]], found: list[str], others: Sequence[str]) -> None:
    """Raise `UserError` if a class, or a folder beside those of the classes or splits, has no image that was read."""
    missing: Counter[str] = Counter()
    if len(parts[0]) == 1:
        photos = [other.rpartition("/")[2] for other in others if other.lower().endswith(tuple(SUFFIXES))]
        missing.update(name for name in map(_class_in, photos) if name not in ("", *found))
    known = {folder for name in names for folder in _folders(name)}
    with_classes = {_folders(name)[len(part) - 1] for name, part in zip(names, parts, strict=True) if len(part) > 1}
    with_splits = {parent for parent, _, base in (folder.rpartition("/") for folder in known) if _SPLIT.fullmatch(base)}
    for other in others:
        for folder in _folders(other):
            parent, _, base = folder.rpartition("/")
            beside = parent in with_classes or (parent in with_splits and _SPLIT.fullmatch(base))
            if beside and folder not in known and not is_generated(folder):
                missing[folder] += not other.endswith("/")  # the name of a folder
    if missing:
        listing = [f"{name!r} ({counted(count, 'file')})" for name, count in missing.items()]
        raise UserError(
            f"beside the classes or splits lies {listed(listing)} without a photo that can be read: add photos (JPEG, "
            "PNG, …), or remove it if it is neither, such as the labels of a detection data set"
        )


def are_parts(folders: Iterable[str]) -> bool:
    """Tell if folders are called alike but for a number, as the parts of a set are rather than its classes."""
    return len({re.sub(r"[ _-]?\d+$", "", folder) for folder in folders}) == 1


def _folders(name: str) -> list[str]:
    """Return the folders above a file, from the innermost to that of the source, which is empty."""
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts) - 1, -1, -1)]


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts `2` before `10`, and `class2` before `class10`."""
    pieces = re.split(r"([0-9]{1,18})", name)  # texts and numbers in turn
    return [int(piece) if odd % 2 else piece for odd, piece in enumerate(pieces)], name  # `1` and `01` differ


def in_folders(names: Iterable[str]) -> str:
    """Return how many files lie in which folders: `'cat' (3), '.' (1)`."""
    places = Counter(name.rpartition("/")[0] or "." for name in names)
    return listed([f"{place!r} ({count:,})" for place, count in places.most_common()], 5)


def _quoted(names: Sequence[str], most: int = 10) -> str:
    return listed([repr(name) for name in names], most)
