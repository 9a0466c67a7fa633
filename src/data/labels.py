"""Read labels from a table beside the photos: CSV, or the `metadata.jsonl` of Hugging Face's imagefolder.

A table is known by its columns: `file` (or `file_name`, `filename`, `image`) and `label` (or `class`). `group` and
`split` are optional. Files are named from the table's folder on, or by their name alone where it is the only one.
"""

import csv
import io
import json
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

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

    Raise `UserError` naming the line that lacks a value, or contradicts another line.
    """
    lines = name.lower().endswith(".jsonl")
    try:
        text = content.decode("utf-8-sig", "replace")  # Excel begins with a mark, and may save another encoding
        if lines:
            records = [dict(json.loads(line)) for line in text.splitlines() if line.strip()]
        else:
            header = text.partition("\n")[0]
            records = list(csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count)))
    except (TypeError, ValueError, csv.Error):
        return False
    columns = {str(column).strip().lower(): column for column in records[0]} if records else {}
    file, label = (next((columns[name] for name in known if name in columns), None) for known in (_FILE, _LABEL))
    if file is None or label is None:
        return False
    if "\ufffd" in text:
        raise UserError(f"{name} is not UTF-8: save it as such")
    for number, record in enumerate(records, 1 if lines else 2):
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


def labelled_layout(
    names: Sequence[str], rows: Mapping[str, Row], unreadable: Collection[str], classes: Sequence[str] | None
) -> Layout:
    """Return classes, splits and groups of images from their rows. Raise `UserError` if the two do not fit.

    Without a column `split`, folders `train/`, `validation/` and `test/` give it, as without a table.
    """
    by_base: dict[str, list[str]] = {}
    for name in (*names, *unreadable):
        by_base.setdefault(name.rpartition("/")[2], []).append(name)
    known = {*names, *unreadable}
    found: dict[str, Row] = {}
    lost = []
    for path, row in rows.items():
        folder, _, base = path.rpartition("/")
        start = folder and f"{folder}/"
        same = [path] if path in known else [name for name in by_base.get(base, []) if name.startswith(start)]
        if len(same) == 1 and same[0] not in found:
            found[same[0]] = row
        else:
            lost.append(path)
    if lost:
        raise UserError(
            f"the table of labels names {counted(len(lost), 'file')} that the source does not hold, or more than once: "
            f"{listed(lost, 3)}: write names with their ending, from the table's folder on, or remove the table"
        )
    if bare := [name for name in names if name not in found]:
        raise UserError(
            f"the table of labels does not name {counted(len(bare), 'image')} of the source: {listed(bare, 3)}: "
            "add them, or remove the table"
        )
    chosen = [found[name] for name in names]
    if gone := sorted({row.label for row in found.values()} - {row.label for row in chosen}):
        raise UserError(f"class {listed(gone, 3)}: none of its photos can be read: repair or replace them")
    divided = any(row.split for row in chosen)
    official = [split_named(row.split) for row in chosen] if divided else splits_by_folder(names)
    layout = number_classes([row.label for row in chosen], official, classes)
    groups = [row.group or name for name, row in zip(names, chosen, strict=True)]
    return layout._replace(groups=groups) if any(row.group for row in chosen) else layout
