"""Classify photos, with probabilities.

    python -m src.predict photo.jpg folder/
    python -m src.predict folder/ --model models:/digits@champion --format csv > classes.csv

Photos of any size are prepared as the training images were. Folders are searched through, and files that are no images
are ignored. Photos that cannot be read are named on stderr and skipped, and the exit code is then 1.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from src.compute import portable

if __name__ == "__main__":
    portable.begin()

import numpy as np
from tqdm import tqdm

from src.core.errors import UserError, command
from src.core.paths import MODEL
from src.prediction.model import Model, load
from src.prediction.photos import find, read
from src.prediction.writing import Row, print_csv, print_table, printable, row

_KINDS = ("classified", "unreadable", "ignored")  # of files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="photos and folders of photos")
    parser.add_argument(
        "--model", default=str(MODEL), help="a file, models:/NAME@champion, or a run's id (default: %(default)s)"
    )
    parser.add_argument("--format", choices=["table", "csv"], default="table", help="default: %(default)s")
    parser.add_argument(
        "--top", type=int, default=1, metavar="N", help="print the N most probable classes (default: 1)"
    )
    parser.add_argument(
        "--coverage",
        help="list the possible classes, so that the true one is among them for this share of photos, such as 0.95; "
        "perhaps none, for a photo unlike the training images",
    )
    parser.add_argument("--explain", type=Path, metavar="FOLDER", help="write a picture of what each decision rests on")
    arguments = parser.parse_args()
    if arguments.top < 1:
        raise UserError(f"--top is {arguments.top}: must be at least 1")
    for path in arguments.paths:
        if not path.exists():
            raise UserError(f"{path} is missing: name photos or folders of photos")
        if arguments.explain and path.is_dir() and _absolute(arguments.explain).is_relative_to(_absolute(path)):
            raise UserError(f"--explain {arguments.explain} lies in {path}, which is classified: name another folder")
    model = load(arguments.model)
    if arguments.explain:
        from src.prediction import explanation  # which imports matplotlib

        if not explanation.explains(model):
            raise UserError(f"{explanation.NO_MAP}: leave out --explain")
    least = None if arguments.coverage is None else model.least(arguments.coverage)
    counts: Counter[str] = Counter()
    rows = classified(model, arguments.paths, arguments.explain, counts, arguments.top, least)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    if arguments.format == "table":
        print_table(rows, model.spec.classes)
    else:
        print_csv(rows, min(arguments.top, len(model.spec.classes)), possible=least is not None)
    sys.stdout.flush()

    if not counts["classified"] and not counts["unreadable"]:
        raise UserError(f"no photos in {', '.join(map(printable, arguments.paths))}")
    if counts.total() > 1 or counts["unreadable"]:
        print(", ".join(f"{counts[what]:,} {what}" for what in _KINDS if counts[what]), file=sys.stderr)
    if counts["unreadable"]:
        sys.exit(1)


def classified(
    model: Model, paths: Sequence[Path], maps: Path | None, counts: Counter[str], top: int, least: float | None
) -> Iterator[Row]:
    """Yield a row for each photo, a batch at a time, and count the kinds of files.

    maps: a folder for pictures of what each decision rests on, or None. top, least: as of `writing.row`.
    """
    # On a terminal the rows themselves show the progress; without a terminal nobody looks.
    hidden = sys.stdout.isatty() or not sys.stderr.isatty()
    root = Path(os.path.commonpath(list(map(_absolute, paths))))
    photos = read(find(paths), model.spec.image, model.batch_size)
    with tqdm(unit=" files", leave=False, disable=hidden) as bar:
        while batch := list(islice(photos, model.batch_size)):
            pixels = [photo.pixels for photo in batch if photo.pixels is not None]
            computed = iter(model.probabilities(np.stack(pixels))) if pixels else iter(())
            for photo in batch:
                bar.update()
                if photo.pixels is not None:
                    probabilities = next(computed)
                    counts["classified"] += 1
                    if maps:
                        from src.prediction.explanation import explain  # which imports matplotlib

                        inside = _absolute(photo.path).relative_to(root)
                        name = inside.as_posix() if inside.parts else photo.path.name
                        explain(maps / f"{name}.png", model, photo.pixels, probabilities, printable(photo.path))
                    yield row(printable(photo.path), probabilities, model.spec.classes, top, least)
                elif photo.fault:
                    counts["unreadable"] += 1
                    tqdm.write(f"unreadable: {printable(photo.path)}: {photo.fault}", file=sys.stderr)
                else:
                    counts["ignored"] += 1


def _absolute(path: Path) -> Path:
    """Return the path without `..`, and without following links."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (which would follow links)


if __name__ == "__main__":
    command(main)
