"""Classes of photos, with their probabilities.

    python -m src.predict photo.jpg folder/
    python -m src.predict folder/ --model models:/digits@champion --format csv > classes.csv

Photos of any size are prepared as the model's own training images were. A folder may hold any number, in folders of its
own too; other files in it are passed over. What cannot be read is told on stderr and skipped; then the exit code is 1.
"""

import argparse
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from src.compute import portable

if __name__ == "__main__":
    portable.begin()

from tqdm import tqdm

from src.core.errors import UserError, command
from src.core.paths import MODEL
from src.data.layout import counted
from src.prediction.classify import Prediction, batch_size, classify
from src.prediction.explanation import explain
from src.prediction.model import Model, load
from src.prediction.photos import find, read
from src.prediction.writing import Row, lines, printable, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="photos and folders of photos")
    parser.add_argument(
        "--model", default=str(MODEL), help="a file, models:/NAME@champion, or a run's id (default: %(default)s)"
    )
    parser.add_argument("--format", choices=["table", "csv", "json"], default="table", help="default: %(default)s")
    parser.add_argument("--top", type=int, default=1, metavar="N", help="the N most probable classes (default: 1)")
    parser.add_argument(
        "--coverage",
        help="which classes remain possible, so that the true one is among them in this share of photos, 0.95 say; "
        "a photo like none that was trained on is none of these",
    )
    parser.add_argument("--explain", type=Path, metavar="FOLDER", help="write a map of what each decision rests on")
    arguments = parser.parse_args()
    if arguments.top < 1:
        raise UserError(f"--top is {arguments.top}: must be at least 1")
    for path in arguments.paths:
        if not path.exists():
            raise UserError(f"{path} is missing: name photos or folders of photos")
        if arguments.explain and path.is_dir() and _absolute(arguments.explain).is_relative_to(_absolute(path)):
            raise UserError(f"--explain {arguments.explain} lies in {path}, which is classified: name another folder")
    model = load(arguments.model)
    predictions = Predictions(model, arguments.paths, arguments.explain)
    least = None if arguments.coverage is None else model.least(arguments.coverage)
    rows = predictions.rows(arguments.top, least)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    for line in lines(rows, arguments.format, model.spec.classes, arguments.top, possible=least is not None):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    predictions.finish()


class Predictions:
    """The rows of what can be read, and the counts of what cannot."""

    def __init__(self, model: Model, paths: Sequence[Path], maps: Path | None) -> None:
        self.model = model
        self.paths = paths
        self.maps = maps
        self.root = Path(os.path.commonpath(list(map(_absolute, paths))))
        self.written: dict[str, Path] = {}  # maps, by their names without case
        self.classified = self.adapted = self.unreadable = self.others = 0

    def rows(self, top: int, least: float | None) -> Iterator[Row]:
        # Rows that pass by on a terminal are progress enough; without a terminal nobody looks.
        hidden = sys.stdout.isatty() or not sys.stderr.isatty()
        total = None if hidden else sum(1 for _ in find(self.paths))
        image = self.model.spec.image
        photos = read(find(self.paths), image, batch_size(image))
        results = classify(photos, self.model)
        for result in tqdm(results, total=total, unit=" files", leave=False, disable=hidden):
            if isinstance(result, Prediction):
                self.classified += 1
                self.adapted += image.resize is None and result.size != (image.width, image.height)
                if self.maps:
                    self._explain(result)
                yield row(result.path, result.probabilities, self.model.spec.classes, top, least)
            elif result.fault:
                self.unreadable += 1
                tqdm.write(f"unreadable: {printable(result.path)}: {result.fault}", file=sys.stderr)
            else:
                self.others += 1

    def _explain(self, result: Prediction) -> None:
        assert self.maps is not None
        inside = _absolute(result.path).relative_to(self.root)
        name = inside.as_posix() if inside.parts else result.path.name
        picture = self.maps / f"{name}.png"
        other = self.written.setdefault(unicodedata.normalize("NFC", str(picture)).casefold(), picture)
        if other != picture and picture.exists() and picture.samefile(other):
            raise UserError(
                f"--explain: {printable(picture)} is the same file as {printable(other)}, as that file system does "
                "not tell upper from lower case: rename a photo, or name a folder elsewhere"
            )
        explain(picture, self.model, result.pixels, result.probabilities, printable(result.path))

    def finish(self) -> None:
        """Says what was found, and leaves with exit code 1 if something could not be read."""
        if not self.classified and not self.unreadable:
            raise UserError(f"no photos in {', '.join(map(printable, self.paths))}")
        if self.adapted:
            size = f"{self.model.spec.image.width}×{self.model.spec.image.height}"
            print(
                f"{counted(self.adapted, 'photo')} cropped and scaled to {size} pixels: the model was trained on "
                "images that had this size, so that it may err more often than it was measured to",
                file=sys.stderr,
            )
        if self.classified > 1 or self.unreadable or self.others:
            counts = [(self.classified, "classified"), (self.unreadable, "unreadable"), (self.others, "ignored")]
            print(", ".join(f"{count:,} {what}" for count, what in counts if count), file=sys.stderr)
        if self.unreadable:
            sys.exit(1)


def _absolute(path: Path) -> Path:
    """Without `..`; links keep their own names and places."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (which would follow links)


if __name__ == "__main__":
    command(main)
