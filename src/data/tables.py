"""Read tables that people wrote: CSV with commas, semicolons or tabs, also by Excel, and JSON lines."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from src.core.documents import read_json
from src.core.errors import UserError

TABLES = (".csv", ".tsv", ".jsonl")


class Table(NamedTuple):
    columns: list[str]
    records: Iterator[tuple[int, dict[Any, Any]]]  # the number of the last line of each, and its values by column


def read_table(name: str, content: bytes) -> Table:
    """Return what CSV or JSON lines hold, read record by record. What is not UTF-8 or UTF-16 is an error of its record.

    Raise `UserError`, now or with a later record, if it is no table.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if utf16 else "utf-8-sig", "replace")  # Excel writes marks, and other encodings
    records: Iterable[tuple[int, dict[Any, Any]]]
    with _damage_reported(name):
        if name.lower().endswith(".jsonl"):
            lines = enumerate(text.split("\n"), 1)
            records = [(number, dict(read_json(line))) for number, line in lines if line.strip()]
            columns = list(dict.fromkeys(column for _, record in records for column in record))
        else:
            header = text.partition("\n")[0]
            delimiter = max(",;\t", key=header.count)
            reader = csv.DictReader(io.StringIO(text, None), delimiter=delimiter, strict=True, skipinitialspace=True)
            records = ((reader.line_num, record) for record in reader)
            columns = list(reader.fieldnames or ())
    return Table(columns, _checked(name, records))


def _checked(name: str, records: Iterable[tuple[int, dict[Any, Any]]]) -> Iterator[tuple[int, dict[Any, Any]]]:
    """Yield the records of a table. Raise `UserError` naming the line of one that cannot be read."""
    with _damage_reported(name):
        for line, record in records:
            if "\ufffd" in str(record):
                raise UserError(f"{name}, line {line} is not UTF-8: save it as such")
            if any(record.pop(None, ())):
                raise UserError(
                    f"{name}, line {line}: more values than columns: put what has a comma in quotes, and each record "
                    "on a line of its own"
                )
            yield line, record


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{name} is no table that can be read ({error}): repair or remove it") from None


def cell(value: Any) -> str:
    """Return a table's value as text, empty where it is missing: None, or NaN, which differs from itself."""
    return "" if value is None or value != value else str(value).strip()
