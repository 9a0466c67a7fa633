"""Compare the prepared arrays with what `dataset.json` says of them: what is truncated or flipped is an error.

DVC compares sizes and dates of its files, not their bits, and nothing at all if a stage is started by hand. So a stage
that trains or measures looks itself: at shapes and labels before it starts; at the bits of the images, of which there
may be many GiB, in a thread beside its work. Nothing that was made of them (the state after an epoch, results) is kept
before that thread has read every array once.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import DATASET
from src.data.prepared import DAMAGED, Dataset, LabelledImages, SplitName, labels_path, open_split, split_folder

_PIECE = 2**20  # bytes


def open_checked(dataset: Dataset, *splits: SplitName) -> list[LabelledImages]:
    """Open the splits. Raise `UserError` if number, size, channels or labels are not those of `dataset`."""
    return [_open(dataset, split) for split in splits]


def _open(dataset: Dataset, split: SplitName) -> LabelledImages:
    opened, record, image = open_split(split), dataset.splits[split], dataset.image
    expected = (record.count, image.height, image.width, image.channels)
    if opened.images.shape != expected:
        raise UserError(
            f"{split_folder(split)} has images (N, H, W, C) of {opened.images.shape}, {DATASET} of {expected}: "
            f"{DAMAGED}"
        )
    labels = opened.labels
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(dataset.classes):
        wrong = int(labels[np.flatnonzero((labels < 0) | (labels >= len(dataset.classes)))[0]])
        raise UserError(
            f"{labels_path(split)} has the label {wrong}, outside of 0 to {len(dataset.classes) - 1}, "
            f"the classes of {DATASET}: {DAMAGED}"
        )
    if digest(labels_path(split)) != record.md5[labels_path(split).name]:
        raise _changed(labels_path(split))
    return opened


class Verification:
    """Read files in a thread, and hold what it has found.

    A state that was learned from damaged images would be resumed once the array is repaired, since its key holds
    `dataset.json`, which stays as it is: so `wait` comes before the first state that is kept.
    """

    def __init__(self, expected: dict[Path, str]) -> None:
        self._expected = expected
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="verify", daemon=True)
        self._thread.start()

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
    """Read the splits' files beside the block, which writes nothing. Raise `UserError` at its end, at the latest,
    if their bits are not those that the split stage wrote; `OSError` if they cannot be read."""
    reading = Verification(
        {split_folder(split) / name: md5 for split in splits for name, md5 in dataset.splits[split].md5.items()}
    )
    try:
        yield reading
        reading.wait()
    finally:
        reading.stop()


def _changed(path: Path) -> UserError:
    return UserError(f"{path} is not the file that the split stage wrote, as {DATASET} has its MD5: {DAMAGED}")
