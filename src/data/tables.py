"""Read tables that people wrote: CSV with commas, semicolons or tabs, also by Excel, and JSON lines."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from src.core.documents import read_json
from src.core.errors import UserError

TABLES = (".csv", ".tsv", ".jsonl")


class Table(NamedTuple):
    name: str
    columns: list[str]  # in lower case
    rows: list[tuple[int, list[Any]]]  # the number of the last line of each, and its values

    def read(self, columns: Sequence[str | None]) -> Iterator[tuple[str, list[str]]]:
        """Yield the place of each row, such as `labels.csv, line 2`, and its texts in the columns; of None, empty ones.

        Raise `UserError` naming the place of a row that is not UTF-8, or has more values than there are columns.
        """
        places = [None if column is None else self.columns.index(column) for column in columns]
        for line, row in self.rows:
            place = f"{self.name}, line {line}"
            if "\ufffd" in str(row):
                raise UserError(f"{place} is not UTF-8: save it as such")
            if any(row[len(self.columns) :]):
                raise UserError(
                    f"{place}: more values than columns: put what has a comma in quotes, and each record on a line of "
                    "its own"
                )
            yield place, ["" if at is None or at >= len(row) else cell(row[at]) for at in places]


def read_table(name: str, content: bytes) -> Table:
    """Return what CSV or JSON lines hold, in UTF-8 or UTF-16. Raise `UserError` if it is no table."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if utf16 else "utf-8-sig", "replace")  # Excel writes marks, and other encodings
    rows: list[tuple[int, list[Any]]]
    try:
        if name.lower().endswith(".jsonl"):
            lines = enumerate(text.split("\n"), 1)
            records = [(number, dict(read_json(line))) for number, line in lines if line.strip()]
            columns = list(dict.fromkeys(column for _, record in records for column in record))
            rows = [(number, [record.get(column) for column in columns]) for number, record in records]
        else:
            delimiter = max(",;\t", key=text.lstrip().partition("\n")[0].count)
            reader = csv.reader(io.StringIO(text, None), delimiter=delimiter, strict=True, skipinitialspace=True)
            (_, columns), *rows = [(reader.line_num, row) for row in reader if row] or [(1, [])]
    except (TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{name} is no table that can be read ({error}): repair or remove it") from None
    return Table(name, [column.strip().lower() for column in columns], rows)


def cell(value: Any) -> str:
    """Return a table's value as text, empty where it is missing: None, or NaN, which differs from itself."""
    return "" if value is None or value != value else str(value).strip()
