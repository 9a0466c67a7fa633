"""Read labels from a table beside the photos: CSV, or the `metadata.jsonl` of Hugging Face's imagefolder.

A table is known by its columns: `file` (or `file_name`, `filename`, `image`) and `label` (or `class`). `group` and
`split` are optional. Files are named from the table's folder on, or by their name alone where it is the only one.
"""

import csv
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from src.core.errors import UserError
from src.data.layout import Layout, counted, listed, number_classes, split_named, splits_by_folder

TABLES = (".csv", ".tsv", ".jsonl")
_FILE, _LABEL = ("file", "file_name", "filename", "image"), ("label", "class")


class Row(NamedTuple):
    label: str
    group: str  # empty: none
    split: str  # empty: none


def read_labels(name: str, content: bytes, rows: dict[str, Row]) -> bool:
    """Add a table's rows, by the names of their files, to those of other tables. Return False if it is no such table.

    Raise `UserError` naming the line that lacks a value, or contradicts another line; and for a table that is called
    `labels` or `metadata` and is damaged, or `labels` and has other columns.
    """
    try:
        records = read_table(name, content)
    except (TypeError, ValueError, csv.Error) as error:
        if PurePosixPath(name).stem.lower() in ("labels", "metadata"):
            raise UserError(f"{name} is no table that can be read ({error}): repair or remove it") from None
        return False
    columns = {str(column).strip().lower(): column for column in records[0][1]} if records else {}
    file, label = (next((columns[name] for name in known if name in columns), None) for known in (_FILE, _LABEL))
    if file is None or label is None:
        if PurePosixPath(name).stem.lower() == "labels":
            raise UserError(
                f"{name} has no columns file and label, but {listed([*columns])}: name them so, or remove it"
            )
        return False
    for number, record in records:
        if "\ufffd" in str(record):
            raise UserError(f"{name}, line {number} is not UTF-8: save it as such")
        if any(record.pop(None, ())):
            raise UserError(f"{name}, line {number}: more values than columns: put what has a comma in quotes")
        values = [record.get(column) for column in (file, label, columns.get("group"), columns.get("split"))]
        path, *rest = ("" if value is None else str(value).strip() for value in values)
        if not path or not rest[0]:
            raise UserError(f"{name}, line {number}: file or label is empty: fill it in, or remove the line")
        path = unicodedata.normalize("NFC", path).replace("\\", "/").removeprefix("./")
        path = f"{name[: name.rfind('/') + 1]}{path}"
        if rows.setdefault(path, Row(*rest)) != Row(*rest):
            raise UserError(f"{name}, line {number}: {path!r} has other values in another line: keep one")
    return True


def read_table(name: str, content: bytes) -> list[tuple[int, dict[Any, Any]]]:
    """Return the records of CSV or JSON lines, by column, each with the number of its last line.

    What is not UTF-8 stands as U+FFFD in them. Raise `TypeError`, `ValueError` or `csv.Error` if it is no table.
    """
    text = content.decode("utf-8-sig", "replace")  # Excel begins with a mark, and may save another encoding
    if name.lower().endswith(".jsonl"):
        lines = enumerate(text.split("\n"), 1)
        return [(number, dict(json.loads(line))) for number, line in lines if line.strip()]
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count), strict=True)
    return [(reader.line_num, record) for record in reader]


def labelled_layout(
    names: Sequence[str], rows: Mapping[str, Row], unreadable: Collection[str], classes: Sequence[str] | None
) -> Layout:
    """Return classes, splits and groups of images from their rows. Raise `UserError` if the two do not fit.

    Without a column `split`, folders `train/`, `validation/` and `test/` give it, as without a table.
    """
    row_of: dict[str, str] = {}  # by the image's name: its own, or without the folders below that of the table
    for name in (*names, *unreadable):
        *folders, base = name.split("/")
        places = ("/".join((*folders[:depth], base)) for depth in range(len(folders), -1, -1))
        if found := next((place for place in places if place in rows), None):
            row_of[name] = found
    count = Counter(row_of.values())
    if lost := [path for path in rows if count[path] != 1]:
        raise UserError(
            f"the table of labels names {counted(len(lost), 'file')} that the source does not hold, or more than once: "
            f"{listed(lost, 3)}: write names with their ending, from the table's folder on, or remove the table"
        )
    if bare := [name for name in names if name not in row_of]:
        raise UserError(
            f"the table of labels does not name {counted(len(bare), 'image')} of the source: {listed(bare, 3)}: "
            "add them, or remove the table"
        )
    chosen = [rows[row_of[name]] for name in names]
    if gone := sorted({row.label for row in rows.values()} - {row.label for row in chosen}):
        raise UserError(f"class {listed(gone, 3)}: none of its photos can be read: repair or replace them")
    divided = any(row.split for row in chosen)
    official = [split_named(row.split) for row in chosen] if divided else splits_by_folder(names)
    layout = number_classes([row.label for row in chosen], official, classes)
    groups = [row.group or name for name, row in zip(names, chosen, strict=True)]
    return layout._replace(groups=groups) if any(row.group for row in chosen) else layout
