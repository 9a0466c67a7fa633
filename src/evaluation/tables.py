"""Tables in `reports/`: small CSV files that git compares line by line, and in which names stay as they are."""

import io
from pathlib import Path

import pandas

from src.core import files
from src.core.errors import UserError

# These columns are text, even where it reads "007", "NA" or "1e5".
_NAMES = ("class", "metric", "name", "label", "prediction", "group", "kind", "direction", "recipe", "digest")


def write(path: Path, table: pandas.DataFrame) -> None:
    """Write numbers with 6 decimals, NaN as an empty field, Unix line ends, and names quoted where they must be."""
    files.write_text(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def read(path: Path, *columns: str) -> pandas.DataFrame:
    """Read a table as it was written: names are text whatever they look like, empty number fields are NaN.

    Raise `UserError` if it is damaged or lacks one of the `columns`.
    """
    try:
        return parse(path.read_bytes(), *columns)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): run dvc repro") from None


def parse(content: bytes, *columns: str) -> pandas.DataFrame:
    """Read a file's content as `read` does. Raise `ValueError` if it is not a table with those columns."""
    if b"\n<<<<<<< " in content:
        raise ValueError("git left conflicts in it")
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
