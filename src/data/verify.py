"""Compare the prepared arrays with what `dataset.json` says of them: what is truncated or flipped is an error.

DVC compares sizes and dates of its files, not their bits. So a stage that trains or measures looks itself: at shapes
and labels before it starts; at the bits of the images, which may have many GiB, in a thread beside its work. Nothing
that was made of them is kept before that thread has read them all: a state that was learned from damaged images would
be resumed once they are repaired.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from src.core.errors import UserError
from src.core.files import digest
from src.core.paths import DATASET
from src.data.prepared import DAMAGED, LABELS, Dataset, LabelledImages, SplitName, open_split, split_folder


def open_checked(dataset: Dataset, *splits: SplitName) -> list[LabelledImages]:
    """Open the splits. Raise `UserError` if number, size, channels or labels are not those of `dataset`."""
    opened = []
    for split in splits:
        data, record, image = open_split(split), dataset.splits[split], dataset.image
        expected = (record.count, image.height, image.width, image.channels)
        if data.images.shape != expected:
            found = f"has images (N, H, W, C) of {data.images.shape}, {DATASET} of {expected}"
            raise UserError(f"{split_folder(split)} {found}: {DAMAGED}")
        _check(split_folder(split) / LABELS, record.md5[LABELS])
        opened.append(data)
    return opened


@contextmanager
def verifying(dataset: Dataset, *splits: SplitName) -> Iterator[Callable[[], None]]:
    """Read the splits' files in a thread beside the block, which gets a function that waits until all are read.

    That function and the end of the block raise `UserError` if their bits are not those that the split stage wrote,
    `OSError` if they cannot be read.
    """
    ended = threading.Event()

    def read() -> None:
        for split in splits:
            for name, md5 in dataset.splits[split].md5.items():
                if ended.is_set():
                    return
                _check(split_folder(split) / name, md5)

    with ThreadPoolExecutor(1, "verify") as thread:
        reading = thread.submit(read)
        try:
            yield reading.result
            reading.result()
        finally:
            ended.set()


def _check(path: Path, md5: str) -> None:
    if digest(path) != md5:
        raise UserError(f"{path} is not the file that the split stage wrote, as {DATASET} has its MD5: {DAMAGED}")
