"""Tables in `reports/`: small CSV files that git diffs line by line and that keep class names as they are."""

import io
from pathlib import Path

import pandas

from src import atomic

# Text, even where it reads "007", "NA" or "1e5".
_NAMES = ("class", "name", "label", "prediction", "group", "kind", "direction", "recipe")


def write(path: Path, table: pandas.DataFrame) -> None:
    """Numbers with 6 decimals, a missing one as an empty field, Unix line ends, names quoted where they need it."""
    text: str = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    atomic.write_text(path, text)


def read(path: Path) -> pandas.DataFrame:
    """The table as it was written: names are text whatever they look like, empty number fields are NaN."""
    return parse(path.read_bytes())


def parse(content: bytes) -> pandas.DataFrame:
    """As `read`, from a file's content. Raises `ValueError` where it is not a table."""
    header = pandas.read_csv(io.BytesIO(content), nrows=0).columns
    numbers = [column for column in header if column not in _NAMES]
    return pandas.read_csv(
        io.BytesIO(content),
        dtype={column: str for column in header if column in _NAMES},
        keep_default_na=False,
        na_values={column: [""] for column in numbers},
    )
