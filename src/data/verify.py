"""Compare the prepared arrays with what `dataset.json` says of them: what is truncated or flipped is an error.

DVC compares sizes and dates of its files, not their bits, and nothing at all if a stage is started by hand. So a stage
that trains or measures looks itself: at shapes and labels before it starts; at the bits of the images, of which there
may be many GiB, in a thread beside its work. Nothing that was made of them (the state after an epoch, results) is kept
before that thread has read every array once.
"""

import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import DATASET
from src.data.prepared import DAMAGED, Dataset, LabelledImages, SplitName, array_paths, open_split

_PIECE = 2**20  # bytes

Item = TypeVar("Item")


def open_checked(dataset: Dataset, *splits: SplitName) -> list[LabelledImages]:
    """Open the splits. Raise `UserError` if number, size, channels or labels are not those of `dataset`."""
    return [_open(dataset, split) for split in splits]


def _open(dataset: Dataset, split: SplitName) -> LabelledImages:
    opened, record, image = open_split(split), dataset.splits[split], dataset.image
    images_path, labels_path = array_paths(split)
    expected = (record.count, image.height, image.width, image.channels)
    if opened.images.shape != expected:
        raise UserError(
            f"{images_path} has images (N, H, W, C) of {opened.images.shape}, {DATASET} of {expected}: {DAMAGED}"
        )
    labels = opened.labels
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(dataset.classes):
        wrong = int(labels[np.flatnonzero((labels < 0) | (labels >= len(dataset.classes)))[0]])
        raise UserError(
            f"{labels_path} has the label {wrong}, outside of 0 to {len(dataset.classes) - 1}, "
            f"the classes of {DATASET}: {DAMAGED}"
        )
    if digest(labels_path) != record.labels_md5:
        raise _changed(labels_path)
    return opened


class Verification:
    """Thread that reads arrays, and what it has found."""

    def __init__(self, expected: dict[Path, str]) -> None:
        self._expected = expected
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="verify", daemon=True)
        self._thread.start()

    def before(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items (epochs), the first one when all is read; raise what `wait` raises instead of it.

        A state that was learned from damaged images would be resumed once the array is repaired: its key holds
        `dataset.json`, which stays as it is.
        """
        for item in items:
            self.wait()
            yield item

    def wait(self) -> None:
        """Wait until all is read. Raise `UserError` if it is damaged, `OSError` if it cannot be read."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._stop.set()

    def _read(self) -> None:
        try:
            for path, md5 in self._expected.items():
                found = hashlib.md5(usedforsecurity=False)
                with path.open("rb", buffering=0) as file:
                    while piece := file.read(_PIECE):
                        found.update(piece)
                        if self._stop.is_set():
                            return
                if found.hexdigest() != md5:
                    raise _changed(path)
        except Exception as error:  # of any kind: what was not read to its end is not known to be complete
            self._failure = error


@contextmanager
def verifying(dataset: Dataset, *splits: SplitName) -> Iterator[Verification]:
    """Read the splits' images beside the block, which writes nothing. Raise `UserError` at its end, at the latest,
    if their bits are not those that the split stage wrote; `OSError` if they cannot be read."""
    reading = Verification({array_paths(split)[0]: dataset.splits[split].images_md5 for split in splits})
    try:
        yield reading
        reading.wait()
    finally:
        reading.stop()


def _changed(path: Path) -> UserError:
    return UserError(f"{path} is not the file that the split stage wrote, as {DATASET} has its MD5: {DAMAGED}")
