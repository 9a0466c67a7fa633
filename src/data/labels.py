"""Read labels from tables beside the photos: CSV, or the `metadata.jsonl` of Hugging Face's imagefolder.

A table of labels is known by its columns: `file` (or `file_name`, `filename`, `image`) and `label` (or `class`). Files
are named from the table's folder on, or by their name alone where it is the only one; with or without their ending.
Absolute names of another machine count from the folder on that all are in. `group` and `split` are optional; without a
column for it, the name of the table gives the split: `test.csv`.
"""

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from src.core.errors import UserError
from src.core.words import counted, listed, quoted
from src.data.layout import SPLIT_WORDS, Layout, number_classes, official_splits, split_in
from src.data.splitting import FREE
from src.data.tables import read_table

ONE_CLASS = "a photo has one class here: name one alone, or leave out the photos of several"
_COLUMNS = (("file", "file_name", "filename", "image"), ("label", "class"), ("group",), ("split",))


class Row(NamedTuple):
    label: str
    group: str  # empty: none
    split: int | None  # a value of src.data.splitting; None: not said


def read_labels(tables: Mapping[str, bytes]) -> dict[str, Row]:
    """Return the rows of the tables of labels, by the paths that they name. Print which tables are used, and which not.

    Raise `UserError` naming the line that lacks a value, or contradicts another line.
    """
    rows: dict[str, Row] = {}
    used: list[str] = []
    unused: list[str] = []  # tables
    ignored: list[str] = []  # columns
    splits = {name: split_of_table(name) for name in tables}
    several_splits = len(set(splits.values())) > 1  # a single test.csv divides nothing
    for name, content in tables.items():
        table = read_table(name, content)
        chosen = [next((word for word in spellings if word in table.columns), None) for spellings in _COLUMNS]
        of_file, of_label, _, of_split = chosen
        called = PurePosixPath(name).stem.lower()
        if "submission" in called:  # Kaggle's example of an answer, whose labels are made up
            print(f"not used: {name!r}, an example of an answer by its name")
            continue
        if of_file is None or of_label is None:
            if called == "labels":
                raise UserError(
                    f"{name} needs the columns file and label, but has {listed(table.columns) or 'none'}: rename its "
                    "columns, or the table if it is no list of photos"
                )
            unused.append(f"{name!r} (columns {listed(table.columns)})")
            continue
        if twice := [column for column in chosen if column and table.columns.count(column) > 1]:
            raise UserError(f"{name} has more than one column {twice[0]}: keep one")
        # The name train.csv says nothing: its photos are ours to place.
        split_of_all = (splits[name] or None) if several_splits and of_split is None else None
        before = len(rows)
        for place, (file, label, group, split) in table.read(chosen):
            if not file or not label or not label.isprintable():
                raise UserError(f"{place}: file or label is empty or cannot be printed: correct or remove the line")
            if re.fullmatch(r"\[.*\]|\{.*\}", label):
                raise UserError(f"{place}: the label is {label}: {ONE_CLASS}")
            row = Row(label, group, split_named(split, place) if split else split_of_all)
            path = _path(name, file)
            if rows.setdefault(path, row) != row:
                raise UserError(f"{place}: {path!r} has other values elsewhere: keep one, or name its folder too")
        used.append(f"{name!r} ({counted(len(rows) - before, 'photo')})")
        ignored += [column for column in table.columns if column not in (*chosen, *ignored)]
    if used:
        print(f"labels of {listed(used, 5)}")
    if ignored:
        print(
            f"not used: columns {quoted(ignored)}; one that says train or test must be called split, one of patients "
            "or scenes group"
        )
    if unused:
        print(f"not used: tables {listed(unused, 5)}; one of labels must have the columns file and label")
    return rows


def split_named(name: str, place: str) -> int:
    """Return the split that is called `name`. Raise `UserError`, which names the `place`, if it is none."""
    if (split := split_in(name)) is None:
        raise UserError(f"{place}: the split is {name!r}: write train, validation or test")
    return split


def split_of_table(name: str) -> int | None:
    """Return the split that the name of a table (`test_labels.csv`) or of its folder says, None if it says none.

    Raise `UserError` if Hugging Face's `extra-00000-of-00003.parquet` says one that we do not know.
    """
    path = PurePosixPath(name)
    if path.suffix.lower() == ".parquet" and (shard := re.match(r"(.+?)-\d+-of-\d+", path.stem)):
        return split_named(shard[1], name)
    words = SPLIT_WORDS.keys() & {path.parent.name.lower(), *re.split(r"[\W\d_]+", path.stem.lower())}
    return SPLIT_WORDS[words.pop()] if len(words) == 1 else None


def labelled_layout(photos: Sequence[str], rows: Mapping[str, Row], classes: Sequence[str] | None) -> Layout:
    """Return classes, splits and groups of photos from their rows. Raise `UserError` if the two do not fit.

    Where no row has a split, folders `train/`, `validation/` and `test/` give it, as without a table.
    """
    labels = {row.label for row in rows.values()}
    parts_of = {label: re.split(r"\s*[,;|]\s*", label) for label in sorted(labels)}
    if several := [label for label, parts in parts_of.items() if len(parts) > 1 and labels.issuperset(parts)]:
        raise UserError(f"{quoted(several, 3)} as labels: {ONE_CLASS}")
    if all(path.startswith("/") for path in rows):
        common = posixpath.commonpath([posixpath.dirname(path) for path in rows])
        rows = {posixpath.relpath(path, common): row for path, row in rows.items()}
    path_of = _named(photos, rows)
    known = set(path_of.values())
    if lost := [path for path in rows if path not in known]:
        raise UserError(
            f"the table of labels names {counted(len(lost), 'file')} that the source does not hold, or more than once: "
            f"{listed(lost, 3)}: write names as it does, such as {photos[0]!r}, from the table's folder on (or move "
            "the table to the top), or remove the lines"
        )
    if bare := [photo for photo in photos if photo not in path_of]:
        raise UserError(
            f"the table of labels does not name {counted(len(bare), 'image')} of the source: {listed(bare, 3)}: "
            "add them, or remove these photos or the table"
        )
    chosen = [rows[path_of[photo]] for photo in photos]
    if all(row.split is None for row in chosen):
        official = official_splits(photos)[1]
    else:
        official = [row.split or FREE for row in chosen]
    layout = number_classes([row.label for row in chosen], official, classes)
    groups = [row.group or photo for photo, row in zip(photos, chosen, strict=True)]
    return layout._replace(groups=groups) if any(row.group for row in chosen) else layout


def _path(table: str, file: str) -> str:
    """Return the path in the source that a table's line means, or an absolute path as it is: `/home/x`, `/C:/x`."""
    folder, file = table[: table.rfind("/") + 1], unicodedata.normalize("NFC", file).replace("\\", "/")
    absolute = file.startswith("/") or re.match("[A-Za-z]:/", file)
    return posixpath.normpath(f"/{file.lstrip('/')}" if absolute else folder + file)


def _named(photos: Iterable[str], paths: Container[str]) -> dict[str, str]:
    """Return the path by which each photo is named, where that names no other.

    `a/b/1.jpg` is named by its own path, and by its name in a table of `a` or of the top: `a/1.jpg`, `1.jpg`; each also
    without `.jpg`.
    """
    found: dict[str, str] = {}
    for photo in photos:
        *folders, base = photo.split("/")
        bases = base, base.rpartition(".")[0]
        places = ("/".join((*folders[:depth], each)) for depth in range(len(folders), -1, -1) for each in bases)
        if path := next((place for place in places if place in paths), None):
            found[photo] = path
    count = Counter(found.values())
    return {photo: path for photo, path in found.items() if count[path] == 1}
