"""Print what was understood of the source: classes and splits with their counts, and what was left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from src.data.layout import counted, listed

_MOST_CLASSES = 40


class LeftOut(NamedTuple):
    kind: str  # the ending of the files, or the name of what a system made, such as `@eaDir`
    folder: str


def print_left_out(files: Counter[LeftOut]) -> None:
    """Print how many files of each kind are no photos, and in which folders they lie."""
    kinds: dict[str, Counter[str]] = {}
    for (kind, folder), count in files.items():
        kinds.setdefault(kind, Counter())[folder or "."] += count
    for kind, folders in sorted(kinds.items()):
        places = listed([f"{folder!r} ({count:,})" for folder, count in folders.most_common()], 5)
        print(f"left out {counted(folders.total(), 'file')} {repr(kind)[1:-1] or 'without ending'}: {places}")


def print_classes(classes: Sequence[str], splits: Mapping[str, Mapping[str, int]]) -> None:
    """Print a table of images by class and split, the classes that are named first and last if there are many."""
    rows = [[repr(name)[1:-1], *(f"{counts[name]:,}" for counts in splits.values())] for name in classes]
    if len(rows) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        rows[half:-half] = [[f"… {len(rows) - 2 * half:,} more", *("" for _ in splits)]]
    rows.insert(0, ["class", *splits])
    rows.append([f"{len(classes):,} in all", *(f"{sum(counts.values()):,}" for counts in splits.values())])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name, *counts in rows:
        print(f"  {name:<{widths[0]}}", *(f"{count:>{width}}" for count, width in zip(counts, widths[1:], strict=True)))
