"""Print predictions photo by photo: as a table to read, or as CSV."""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WIDEST = 24  # letters of a class name in the table


class Row(NamedTuple):
    """Hold a file's most probable classes."""

    file: str
    classes: Sequence[tuple[str, float]]  # names and probabilities, the most probable first
    possible: Sequence[str] | None = None  # classes that are possible at a coverage; None if no coverage is asked for


def row(
    file: str, probabilities: NDArray[np.float32], classes: Sequence[str], top: int, least: float | None = None
) -> Row:
    """Return the `top` most probable classes of a photo; of equal ones the lower class comes first.

    least: the probability from which on a class is possible; None if no coverage is asked for.
    """
    order = np.argsort(-probabilities, kind="stable")
    likely = [(classes[index], float(probabilities[index])) for index in order]
    possible = None if least is None else [name for name, probability in likely if probability >= least]
    return Row(file, likely[:top], possible)


def printable(path: Path) -> str:
    """Return the name as text. Bytes that are not UTF-8 become �."""
    return os.fsencode(path).decode("utf-8", "replace")


def print_table(rows: Iterator[Row], classes: Sequence[str]) -> None:
    """Print a table. The file comes last, since the longest name is not known before the end."""
    width = min(_WIDEST, max(map(len, classes)))

    def one_line(text: str) -> str:
        return "".join(letter if letter.isprintable() else "�" for letter in text)

    for file, likely, possible in rows:
        cells = []
        for name, probability in likely:
            line = one_line(name)
            cut = line if len(line) <= width else line[: width - 1] + "…"
            cells.append(f"{100 * probability:6.2f} %  {cut:<{width}}")
        if possible is not None:
            cells.append(f"possible: {one_line(', '.join(possible)) or 'none of these'}")
        print("  ".join([*cells, one_line(file)]))


def print_csv(rows: Iterator[Row], top: int, possible: bool) -> None:
    """Print a header, `file,class,probability,class_2,…`, and a line for each row.

    possible: add a column with the possible classes, separated by "|".
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    header = ["file", *(f"{name}{rank}" for rank in ranks for name in ("class", "probability"))]
    writer.writerow([*header, "possible"] if possible else header)
    for file, likely, remaining in rows:
        cells = [file, *(cell for name, share in likely for cell in (name, f"{share:.6f}"))]
        writer.writerow(cells if remaining is None else [*cells, "|".join(remaining)])
