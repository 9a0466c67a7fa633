"""Read labels from tables beside the photos: CSV, or the `metadata.jsonl` of Hugging Face's imagefolder.

A table of labels is known by its columns: `file` (or `file_name`, `filename`, `image`) and `label` (or `class`). Files
are named from the table's folder on, or by their name alone where it is the only one; with or without their ending.
Absolute names of another machine count from the folder on that all are in. `group` and `split` are optional; without a
column for it, the name of the table gives the split: `test.csv`.
"""

import codecs
import csv
import io
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from src.core.documents import read_json
from src.core.errors import UserError
from src.core.words import counted, listed
from src.data.layout import SPLIT_WORDS, Layout, number_classes, official_splits, split_named
from src.data.splitting import FREE

TABLES = (".csv", ".tsv", ".jsonl")
ONE_CLASS = "a photo has one class here: name one alone, or leave out the photos of several"
_EXAMPLE = "submission"  # Kaggle's example of an answer, whose labels are made up
_COLUMNS = (("file", "file_name", "filename", "image"), ("label", "class"), ("group",), ("split",))


class Row(NamedTuple):
    label: str
    group: str  # empty: none
    split: str  # empty: none


class Table(NamedTuple):
    columns: list[str]
    records: Iterator[tuple[int, dict[Any, Any]]]  # the number of the last line of each, and its values by column


def read_labels(tables: dict[str, bytes], rows: dict[str, Row]) -> None:
    """Take the tables of labels out of `tables`, and add their rows to `rows`, by the paths that they name.

    Print which tables are used. Raise `UserError` naming the line that lacks a value, or contradicts another line, and
    a damaged table called `labels` or `metadata`.
    """
    used: list[str] = []
    ignored: list[str] = []
    grouped = False
    split_by_name = len(set(map(split_in, tables))) > 1  # a single test.csv divides nothing
    for name, content in list(tables.items()):
        called = PurePosixPath(name).stem.lower()
        if _EXAMPLE in called:
            continue
        try:
            table = read_table(name, content)
            spelled = [column.strip().lower() for column in table.columns]
            columns = dict(zip(spelled, table.columns, strict=True))
            chosen = [
                next((columns[spelling] for spelling in known if spelling in columns), None) for known in _COLUMNS
            ]
            if chosen[0] is None or chosen[1] is None:
                continue
            records = list(table.records)
        except (TypeError, ValueError, csv.Error) as error:
            if called in ("labels", "metadata"):
                raise UserError(f"{name} is no table that can be read ({error}): repair or remove it") from None
            continue
        if twice := [column for column in chosen if column and spelled.count(column.strip().lower()) > 1]:
            raise UserError(f"{name} has more than one column {twice[0]}: keep one")
        for column in table.columns:
            words = (str(record.get(column)).strip().lower() for _, record in records)
            if column not in chosen and records and all(word in SPLIT_WORDS for word in words):
                raise UserError(f"{name}: the column {column!r} names splits: call it split, or remove it")
        split_of_all = split_in(name) if split_by_name else ""
        for number, record in records:
            place = f"{name}, line {number}"
            if "\ufffd" in str(record):
                raise UserError(f"{place} is not UTF-8: save it as such")
            if any(record.pop(None, ())):
                raise UserError(f"{place}: more values than columns: put what has a comma in quotes")
            values = [record.get(column) for column in chosen]
            file, label, group, split = map(cell, values)
            if isinstance(values[1], list | dict) or re.fullmatch(r"\[.*\]", label):
                raise UserError(f"{place}: the label is {label}: {ONE_CLASS}")
            if not file or not label or not label.isprintable():
                raise UserError(f"{place}: file or label is empty or cannot be printed: correct or remove the line")
            row = Row(label, group, split if chosen[3] else split_of_all)
            path = _path(name, file)
            if rows.setdefault(path, row) != row:
                raise UserError(f"{place}: {path!r} has other values elsewhere: keep one, or name its folder too")
        grouped = grouped or chosen[2] is not None
        used.append(f"{name!r} ({counted(len(records), 'photo')})")
        del tables[name]
        ignored += [column for column in table.columns if column not in (*chosen, *ignored)]
    if used:
        rest = ""
        if ignored:
            rest = f"; not used: columns {listed([repr(column) for column in ignored])}"
            rest += "" if grouped else " (one of patients or scenes: call it group, to keep them in one split)"
        print(f"labels of {listed(used, 5)}{rest}")


def cell(value: Any) -> str:
    """Return a table's value as text, empty where it is missing: None, or NaN, which differs from itself."""
    return "" if value is None or value != value else str(value).strip()


def check_unused(tables: Mapping[str, bytes], photos: Sequence[str], folders_are_classes: bool) -> None:
    """Raise `UserError` if one of the tables, none of which is used, may hold the classes of the photos.

    Such a table is called `labels`, or has a line for each of at least half of the photos: it has their names, with or
    without folders and ending. Where folders are classes and it has no column for them, print that it is not used.
    """
    paths = ({photo, *("/".join(photo.split("/")[-depth:]) for depth in (1, 2))} for photo in photos)
    counts = Counter(name for path in chain.from_iterable(paths) for name in (path, path.rpartition(".")[0]))
    known = {name for name, count in counts.items() if count == 1}  # by which one photo can be meant
    for name, content in tables.items():
        try:
            table = read_table(name, content)
            columns = {column.strip().lower() for column in table.columns}
            called = PurePosixPath(name).stem.lower()
            lines = 0
            if called != "labels" and _EXAMPLE not in called:
                # Record by record: HAM10000's have a column for each pixel.
                lines = sum(not known.isdisjoint(map(str, record.values())) for _, record in table.records)
        except (TypeError, ValueError, csv.Error):
            continue
        names_photos = 2 * lines >= len(photos)
        if called == "labels" or (names_photos and (not folders_are_classes or columns & {*_COLUMNS[1]})):
            raise UserError(
                f"{name} may have the photos' classes: give it a column file, and a column label with the class's name "
                f"(its columns are {listed(table.columns)}), or remove it"
            )
        if names_photos:
            print(
                f"{name} names the photos, but is not used: folders are the classes (to use it instead, give it a "
                f"column file, and a column label with the class's name: its columns are {listed(table.columns)})"
            )


def read_table(name: str, content: bytes) -> Table:
    """Return what CSV or JSON lines hold, read record by record. What is not UTF-8 or UTF-16 stands as U+FFFD in it.

    This, or a later record, raises `TypeError`, `ValueError` or `csv.Error` if it is no table.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if utf16 else "utf-8-sig", "replace")  # Excel writes marks, and other encodings
    if name.lower().endswith(".jsonl"):
        lines = enumerate(text.split("\n"), 1)
        records = [(number, dict(read_json(line))) for number, line in lines if line.strip()]
        return Table([*dict.fromkeys(column for _, record in records for column in record)], iter(records))
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, None), delimiter=max(",;\t", key=header.count), strict=True)
    return Table([*(reader.fieldnames or ())], ((reader.line_num, record) for record in reader))


def split_in(name: str) -> str:
    """Return the split that the name of a table (`test_labels.csv`) or of its folder says, empty for train or none.

    Hugging Face's `train-00000-of-00003.parquet` says it always, be it one that we do not know.
    """
    path = PurePosixPath(name)
    if shard := re.fullmatch(r"(.+?)-\d+-of-\d+(-[0-9a-f]+)?", path.stem):
        return shard[1]
    words = SPLIT_WORDS.keys() & {path.parent.name.lower(), *re.split(r"[\W\d_]+", path.stem.lower())}
    return next((word for word in words if len(words) == 1 and SPLIT_WORDS[word] != FREE), "")


def labelled_layout(
    names: Sequence[str], rows: Mapping[str, Row], unreadable: Collection[str], classes: Sequence[str] | None
) -> Layout:
    """Return classes, splits and groups of images from their rows. Raise `UserError` if the two do not fit.

    Where no row has a split, folders `train/`, `validation/` and `test/` give it, as without a table.
    """
    labels = {row.label for row in rows.values()}
    parts_of = {label: re.split(r"\s*[,;|]\s*", label) for label in sorted(labels)}
    if several := [repr(label) for label, parts in parts_of.items() if len(parts) > 1 and labels.issuperset(parts)]:
        raise UserError(f"{listed(several, 3)} as labels: {ONE_CLASS}")
    photos = [*names, *unreadable]
    if all(path.startswith("/") for path in rows):
        common = posixpath.commonpath([posixpath.dirname(path) for path in rows])
        rows = {posixpath.relpath(path, common): row for path, row in rows.items()}
    row_of = _named(photos, rows)
    known = set(row_of.values())
    if lost := [path for path in rows if path not in known]:
        raise UserError(
            f"the table of labels names {counted(len(lost), 'file')} that the source does not hold, or more than once: "
            f"{listed(lost, 3)}: write names as it does, such as {photos[0]!r}, from the table's folder on (or move "
            "the table to the top), or remove the lines"
        )
    if bare := [name for name in names if name not in row_of]:
        raise UserError(
            f"the table of labels does not name {counted(len(bare), 'image')} of the source: {listed(bare, 3)}: "
            "add them, or remove these photos or the table"
        )
    chosen = [rows[row_of[name]] for name in names]
    if gone := sorted(labels - {row.label for row in chosen}):
        raise UserError(f"class {listed(gone, 3)}: none of its photos can be read: repair or replace them")
    divided = any(row.split for row in chosen)
    official = [split_named(row.split) for row in chosen] if divided else official_splits(names)[1]
    if FREE not in official:
        raise UserError(
            "the tables of labels have no photo of train: correct their column split, or names such as test.csv"
        )
    layout = number_classes([row.label for row in chosen], official, classes)
    groups = [row.group or name for name, row in zip(names, chosen, strict=True)]
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
