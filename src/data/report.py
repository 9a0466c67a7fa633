"""Print what was understood of the source: classes and splits with their counts, and what was left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from src.data.layout import counted, is_generated, listed

_MOST_CLASSES = 40


def print_left_out(names: Sequence[str]) -> None:
    """Print how many files are no photos, by their ending or by what a system has made, and in which folders."""
    kinds: dict[str, Counter[str]] = {}
    for name in names:
        *folders, base = name.split("/")
        generated = next((index for index, part in enumerate([*folders, base]) if is_generated(part)), None)
        kind = PurePosixPath(base).suffix if generated is None else [*folders, base][generated]
        if base:  # a folder's name ends in `/`
            kinds.setdefault(kind or "without ending", Counter())["/".join(folders[:generated]) or "."] += 1
    for kind, places in sorted(kinds.items()):
        shown = listed([f"{place!r} ({count:,})" for place, count in places.most_common()], 5)
        print(f"left out {counted(places.total(), 'file')} {repr(kind)[1:-1]}: {shown}")


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
