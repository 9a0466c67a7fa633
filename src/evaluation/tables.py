"""Tables in `reports/`: small CSV files that git diffs line by line and that keep class names as they are."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from src.core import files
from src.core.errors import UserError

# Text, even where it reads "007", "NA" or "1e5".
_NAMES = ("class", "name", "label", "prediction", "group", "kind", "direction", "recipe")
_COUNTS = ("index", "epoch", "step", "seed", "images", "correct", "count")


def write(path: Path, table: pandas.DataFrame) -> None:
    """Numbers with 6 decimals, a missing one as an empty field, Unix line ends, names quoted where they need it."""
    text: str = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    files.write_text(path, text)


def read(path: Path, *columns: str) -> pandas.DataFrame:
    """The table as it was written: names are text whatever they look like, empty number fields are NaN.

    Raises `UserError` where it is damaged or lacks one of the `columns`.
    """
    try:
        return parse(path.read_bytes(), *columns)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): run dvc repro") from None


def parse(content: bytes, *columns: str) -> pandas.DataFrame:
    """As `read`, from a file's content. Raises `ValueError` where it is not a table with those columns."""
    try:
        header = pandas.read_csv(io.BytesIO(content), nrows=0).columns
        table = pandas.read_csv(
            io.BytesIO(content),
            dtype={column: str for column in header if column in _NAMES},
            keep_default_na=False,
            na_values={column: [""] for column in header if column not in _NAMES},
        )
    except ValueError as error:  # pandas' own are such, and may have several lines
        raise ValueError(" ".join(str(error).split())) from None
    if missing := [column for column in columns if column not in header]:
        raise ValueError(f"it has no column {missing[0]}")
    # What pandas makes of rows that are too long is an index, and of the last one, cut off, missing values.
    if not isinstance(table.index, pandas.RangeIndex):
        raise ValueError("its rows have more fields than its header")
    if not content.endswith(b"\n"):
        raise ValueError("it ends amid a row")
    for column in header:
        if (wrong := _wrong(table[column])).any():
            row = int(wrong.argmax())
            value = table[column].iloc[row]
            told = f"has no {column}" if pandas.isna(value) else f"has the {column} {str(value)[:40]!r}"
            raise ValueError(f"row {row + 2} {told}")
    return table


def _wrong(values: "pandas.Series[Any]") -> NDArray[np.bool_]:
    """Which values (N,) of a column are none: names that are missing, numbers that are text, infinite, or no counts."""
    absent: NDArray[np.bool_] = values.isna().to_numpy()
    if values.name in _NAMES:
        return absent
    numbers = np.asarray(pandas.to_numeric(values, errors="coerce"), np.float64)
    wrong: NDArray[np.bool_] = np.isinf(numbers) | (np.isnan(numbers) & ~absent)
    if values.name in _COUNTS:
        wrong |= (numbers < 0) | (numbers != np.floor(numbers))
    return wrong
