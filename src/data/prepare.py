"""Turn `data/raw` into `data/prepared`: split the staged images, write arrays and `dataset.json`, say what was done."""

import math
import tempfile
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from src.core import files
from src.core.errors import UserError
from src.core.paths import DATASET, PREPARED
from src.data.images import Resize
from src.data.layout import counted, listed
from src.data.prepared import (
    SPLITS,
    Dataset,
    Duplicates,
    ImageFormat,
    SplitName,
    SplitRecord,
    array_paths,
)
from src.data.splitting import TEST, VALIDATION, Splits, find_equal, join_groups, limit, match_groups, split_images
from src.data.staging import Staged, stage
from src.params import Data, Split

_CHUNK_BYTES = 4 * 2**20
IMBALANCE = 10  # the largest class has so many times the training images of the smallest


def prepare(data: Data, split: Split) -> Dataset:
    """Do the work of the split stage. Raise `UserError`; then nothing in `data/prepared` has changed."""
    PREPARED.mkdir(parents=True, exist_ok=True)
    for stale in PREPARED.glob(".*.tmp"):  # of a process that was killed: their space is needed now
        stale.unlink()
    # A file without a name, which vanishes with the process.
    with files.naming(PREPARED, PREPARED), tempfile.TemporaryFile(dir=PREPARED) as scratch:
        staged = stage(data, scratch)
        staged = staged._replace(official=_official(staged, data.name, split))
        groups = _groups(staged.names, split.groups)
        splits = _split(staged, groups, data.limit, split)
        record = _write(data.name, staged, splits, groups, data.resize if data.image_size else None)
    _report(record)
    return record


def _official(staged: Staged, dataset: str, split: Split) -> NDArray[np.int8]:
    """Return where the source puts each image, with `split.validation_from_test`. Say what of `split` has no effect."""
    official = staged.official.copy()
    tests = np.flatnonzero(official == TEST)
    wanted = split.validation_from_test
    if wanted and not len(tests):
        raise UserError(f"split.validation_from_test: {dataset} has no test images of its own; set it to 0")
    if wanted and (official == VALIDATION).any():
        raise UserError("split.validation_from_test: the source has its own validation images; set it to 0")
    if wanted and wanted >= len(tests):
        raise UserError(f"split.validation_from_test is {wanted:,} but there are only {len(tests):,} test images")
    official[tests[:wanted]] = VALIDATION
    if len(tests) and split.test:
        print("the source has its own test images: split.test is not used")
    if split.validation and (official == VALIDATION).any():
        print("the source has its own validation images: split.validation is not used")
    return official


def _groups(names: list[str], pattern: str | None) -> list[str] | None:
    if pattern is None:
        return None
    groups, unmatched = match_groups(names, pattern)
    if unmatched == len(names):
        raise UserError(f"split.groups: {pattern!r} is found in none of the names, such as {names[0]!r}: correct it")
    rest = f"; {counted(unmatched, 'image')} without a match, each its own group" if unmatched else ""
    print(f"groups: {len(set(groups)) - unmatched:,} in {counted(len(names) - unmatched, 'image')}{rest}")
    return groups


def _split(staged: Staged, groups: list[str] | None, training_images: int | None, split: Split) -> Splits:
    """Split the images. Raise `UserError` if one that is wanted would lack a class."""
    counts = np.bincount(staged.labels, minlength=len(staged.classes))
    if len(counts) < 2:
        raise UserError(f"there is only one class, {staged.classes[0]!r}: each needs a folder of its own")
    for name, count in zip(staged.classes, counts, strict=True):
        if count < 2:
            raise UserError(f"class {name!r} has {counted(count, 'image')} in the source: every split needs some")
    validation = 0.0 if VALIDATION in staged.official else split.validation
    test = 0.0 if TEST in staged.official else split.test
    together = join_groups(staged.digests, *([groups] if groups else []))
    splits = split_images(staged.labels, staged.official, together, validation, test, split.seed)
    if training_images is not None:
        if training_images < len(staged.classes):
            raise UserError(
                f"data.limit is {training_images}, below one image for each of {len(staged.classes)} classes"
            )
        splits = limit(splits, staged.labels, training_images, split.seed)
    wanted = (True, split.validation or VALIDATION in staged.official, split.test or TEST in staged.official)
    for split_name, indices, needed in zip(SPLITS, splits[:3], wanted, strict=True):
        found = np.bincount(staged.labels[indices], minlength=len(staged.classes))
        if needed and not found.all():
            label = int(np.argmin(found))
            raise UserError(
                f"class {staged.classes[label]!r} gets no {split_name} image of its {counts[label]} (equal images and "
                "groups stay together): add images, or change split or data.limit"
            )
    return splits


def _write(dataset: str, staged: Staged, splits: Splits, groups: list[str] | None, resize: Resize | None) -> Dataset:
    """Write all files under temporary names, then rename them, `dataset.json` last."""
    _, height, width, channels = staged.pixels.shape
    mean, std = [0.0], [1.0]
    records: dict[SplitName, SplitRecord] = {}
    with ExitStack() as stack:
        # Files are renamed in the opposite order.
        description = stack.enter_context(files.replacing(DATASET))
        for name, indices in zip(SPLITS, splits[:3], strict=True):
            images_path, labels_path = (stack.enter_context(files.replacing(path)) for path in array_paths(name))
            histogram = _write_images(images_path, staged.pixels, indices)
            if name == "train":
                mean, std = _mean_std(histogram)
            with labels_path.open("wb") as file:
                _write_header(file, "<i8", indices.shape)
                file.write(staged.labels[indices].astype("<i8").data)
            counts = np.bincount(staged.labels[indices], minlength=len(staged.classes))
            records[name] = SplitRecord(
                count=len(indices),
                per_class=dict(zip(staged.classes, counts.tolist(), strict=True)),
                images_md5=files.digest(images_path),
                labels_md5=files.digest(labels_path),
                names=[staged.names[index] for index in indices],
                groups=[groups[index] for index in indices] if groups else None,
            )
        record = Dataset(
            name=dataset,
            classes=staged.classes,
            image=ImageFormat(height=height, width=width, channels=channels, resize=resize),
            mean=mean,
            std=std,
            splits=records,
            duplicates=_duplicates(staged, splits),
            unreadable=staged.unreadable,
        )
        files.write_json(description, record.model_dump())
        DATASET.unlink(missing_ok=True)  # until the new one is there, nothing is taken for complete
    return record


def _write_images(path: Path, pixels: NDArray[np.uint8], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gather images in chunks into an .npy file. Return how often each channel has each value, (C, 256)."""
    shape = (len(indices), *pixels.shape[1:])
    histogram = np.zeros((shape[-1], 256), np.int64)
    step = max(1, _CHUNK_BYTES // int(np.prod(shape[1:])))
    with path.open("wb") as file:
        _write_header(file, "|u1", shape)
        for start, end in pairwise([*range(0, len(indices), step), len(indices)]):
            chunk = np.ascontiguousarray(pixels[indices[start:end]])
            file.write(chunk.data)
            for channel in range(shape[-1]):
                histogram[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    return histogram


def _write_header(file: IO[bytes], dtype: str, shape: tuple[int, ...]) -> None:
    """Write the header of an .npy file. `np.save` hides why writing failed, such as a full disk."""
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})


def _mean_std(histogram: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Return mean and std per channel, pixels in [0, 1]. The sums are of integers: their order does not matter."""
    means, stds = [], []
    for counts in histogram.tolist():
        n = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value * value * count for value, count in enumerate(counts))
        means.append(total / (n * 255))
        stds.append(math.sqrt(n * squares - total * total) / (n * 255))  # exactly rounded, unlike a power
    return means, stds


def _duplicates(staged: Staged, splits: Splits) -> Duplicates:
    """Return those that are kept or were dropped as duplicates: what `data.limit` leaves out is of no interest."""
    kept = set(np.concatenate(splits[:3]).tolist())
    dropped = set(splits.dropped.tolist())
    together, conflicting = [], []
    for equal in find_equal(staged.digests):
        indices = [index for index in equal if index in kept or index in dropped]
        if len(indices) < 2 or kept.isdisjoint(indices):
            continue
        names = [staged.names[index] for index in indices]
        if len({int(staged.labels[index]) for index in indices}) > 1:
            conflicting.append(names)
        if dropped.isdisjoint(indices):
            together.append(names)
    return Duplicates(
        dropped=[staged.names[index] for index in splits.dropped], together=together, conflicting=conflicting
    )


def _report(record: Dataset) -> None:
    image, duplicates = record.image, record.duplicates
    counts = ", ".join(f"{name} {split.count:,}" for name, split in record.splits.items())
    print(f"{record.name}: {len(record.classes)} classes, {image.height}×{image.width}×{image.channels}: {counts}")
    if record.unreadable:
        print(f"left out {counted(len(record.unreadable), 'unreadable file')}, listed in {DATASET}")
    if duplicates.dropped:
        print(f"dropped {counted(len(duplicates.dropped), 'image')}: equal to, or of one group with, held-out images")
    if duplicates.together:
        print(f"kept {counted(len(duplicates.together), 'set')} of equal images together")
    if duplicates.conflicting:
        sets = listed([" = ".join(map(repr, names)) for names in duplicates.conflicting])
        print(f"{counted(len(duplicates.conflicting), 'set')} of equal images with different labels: {sets}")
    per_class = record.splits["train"].per_class
    largest, smallest = max(per_class, key=per_class.__getitem__), min(per_class, key=per_class.__getitem__)
    if per_class[largest] >= IMBALANCE * per_class[smallest]:
        print(
            f"strong class imbalance in train: {per_class[largest]:,} × {largest!r} but {per_class[smallest]:,} × "
            f"{smallest!r}; look at the per-class accuracy"
        )
