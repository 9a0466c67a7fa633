"""Tables in `reports/`: small CSV files that git compares line by line, and in which names stay as they are."""

import io
from pathlib import Path

import pandas

from src.core import files
from src.core.documents import damaged
from src.core.git import has_conflicts

# These columns are text, even where it reads "007", "NA" or "1e5".
_NAMES = ("class", "metric", "name", "label", "prediction", "group", "kind", "direction", "recipe", "digest")


def write(path: Path, table: pandas.DataFrame) -> None:
    """Write numbers with 6 decimals, NaN as an empty field, Unix line ends, and names quoted where they must be."""
    files.write_text(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def read(path: Path, *columns: str) -> pandas.DataFrame:
    """Read a table as it was written: names are text whatever they look like, empty number fields are NaN.

    Raise `UserError` if it is damaged or lacks one of the `columns`.
    """
    content = path.read_bytes()
    try:
        return parse(content, *columns)
    except ValueError as error:
        raise damaged(path, content, error) from None


def parse(content: bytes, *columns: str) -> pandas.DataFrame:
    """Read a file's content as `read` does. Raise `ValueError` if it is not a table with those columns."""
    if has_conflicts(content):
        raise ValueError("it has conflicts that git left")
    try:
        header = pandas.read_csv(io.BytesIO(content), nrows=0).columns
        table = pandas.read_csv(
            io.BytesIO(content),
            dtype={column: str for column in header if column in _NAMES},
            keep_default_na=False,
            na_values={column: [""] for column in header if column not in _NAMES},
        )
    except ValueError as error:  # pandas' errors are such, too, and may have several lines
        raise ValueError(" ".join(str(error).split())) from None
    if missing := [column for column in columns if column not in header]:
        raise ValueError(f"it has no column {missing[0]}")
    return table
