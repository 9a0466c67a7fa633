"""Print what was understood of the source: classes and splits with their counts, and what was left out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from src.core.paths import DATASET
from src.core.words import counted, listed, quoted
from src.data.layout import is_generated
from src.data.prepared import Dataset

_MOST_CLASSES = 40


def print_left_out(names: Sequence[str]) -> None:
    """Print how many files are no photos, by their ending or by what a system has made, and in which folders."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        if name.endswith("/"):  # a folder
            continue
        kind, parts = PurePosixPath(name).suffix or "without ending", name.split("/")
        if generated := [part for part in parts if is_generated(part)]:
            kind, name = generated[0], "/".join(parts[: parts.index(generated[0]) + 1])
        kinds.setdefault(kind, []).append(name)
    for kind, files in sorted(kinds.items()):
        print(f"left out {counted(len(files), 'file')} {repr(kind)[1:-1]}: {in_folders(files)}")


def in_folders(names: Iterable[str]) -> str:
    """Return how many files lie in which folders: `'cat' (3), '.' (1)`."""
    places = Counter(name.rpartition("/")[0] or "." for name in names)
    return listed([f"{place!r} ({count:,})" for place, count in places.most_common()], 5)


def print_overview(record: Dataset) -> None:
    """Print how many images each class has in each split, and which of them are duplicates."""
    image, duplicates = record.image, record.duplicates
    print(f"{record.name}, {image.height}×{image.width}×{image.channels} pixels:")
    splits = record.splits.values()
    rows = [[repr(name)[1:-1], *(f"{split.per_class[name]:,}" for split in splits)] for name in record.classes]
    if len(rows) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        rows[half:-half] = [[f"… {len(rows) - 2 * half:,} more", *("" for _ in splits)]]
    rows.insert(0, ["class", *record.splits])
    rows.append([f"{len(record.classes):,} in all", *(f"{split.count:,}" for split in splits)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name, *counts in rows:
        print(f"  {name:<{widths[0]}}", *(f"{count:>{width}}" for count, width in zip(counts, widths[1:], strict=True)))
    spellings = Counter(name.strip().casefold() for name in record.classes)
    if alike := [name for name in record.classes if spellings[name.strip().casefold()] > 1]:
        print(f"{quoted(alike)} are written nearly alike: if they are one class, give them one name")
    if record.unreadable:
        print(f"left out {counted(len(record.unreadable), 'unreadable file')}, listed in {DATASET}")
    for kind, found in {"equal": duplicates.equal, "nearly equal": duplicates.near}.items():
        if found and found.sets:
            print(f"{kind}: {found}")
            for members in found.examples:
                print(f"  {' = '.join(f'{example.split} {example.name!r}' for example in members)}")
