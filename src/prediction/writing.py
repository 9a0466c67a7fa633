"""Predictions as lines of text, one photo after the other: a table to read, CSV, or one JSON array."""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Format = Literal["table", "csv", "json"]

_WIDEST = 24  # letters of a class name in the table


class Row(NamedTuple):
    file: str
    classes: Sequence[tuple[str, float]]  # the most probable first


def row(path: Path, probabilities: NDArray[np.float32], classes: Sequence[str], top: int) -> Row:
    """The `top` most probable classes of one photo; among equals the lower class comes first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return Row(printable(path), [(classes[index], float(probabilities[index])) for index in order])


def printable(path: Path) -> str:
    """The name as text: bytes that are not UTF-8 become �."""
    return os.fsencode(path).decode("utf-8", "replace")


def lines(rows: Iterator[Row], form: Format, classes: Sequence[str], top: int) -> Iterator[str]:
    """Lines without their ends, each as soon as its row is there."""
    if form == "table":
        return _table(rows, min(_WIDEST, max(map(len, classes))))
    return _csv(rows, min(top, len(classes))) if form == "csv" else _json(rows)


def _table(rows: Iterator[Row], width: int) -> Iterator[str]:
    """The file stands last, since the longest name is not known before the end."""
    for file, classes in rows:
        cells = [f"{100 * probability:6.2f} %  {_short(name, width)}" for name, probability in classes]
        yield "  ".join([*cells, _one_line(file)])


def _short(name: str, width: int) -> str:
    name = _one_line(name)
    return f"{name if len(name) <= width else name[: width - 1] + '…':<{width}}"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _csv(rows: Iterator[Row], top: int) -> Iterator[str]:
    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    yield _csv_line(["file", *(f"{name}{rank}" for rank in ranks for name in ("class", "probability"))])
    for file, classes in rows:
        yield _csv_line([file, *(cell for name, share in classes for cell in (name, f"{share:.6f}"))])


def _csv_line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def _json(rows: Iterator[Row]) -> Iterator[str]:
    """One array with an object in each line: `file`, `class`, `probability`, and `probabilities` by class."""
    yield "["
    last = None
    for file, classes in rows:
        if last is not None:
            yield f"{last},"
        name, share = classes[0]
        shares = {name: round(share, 6) for name, share in classes}
        entry = {"file": file, "class": name, "probability": round(share, 6), "probabilities": shares}
        last = json.dumps(entry, ensure_ascii=False)
    if last is not None:
        yield last
    yield "]"
