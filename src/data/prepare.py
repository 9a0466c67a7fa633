"""`data/raw` to `data/prepared`: divides the staged images, writes the arrays and `dataset.json`, says what it did."""

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
from src.data.images import Fit, Resize
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
from src.data.splitting import (
    TEST,
    VALIDATION,
    Division,
    divide,
    find_equal,
    find_units,
    limit,
    match_groups,
)
from src.data.staging import Staged, stage
from src.params import Split

_CHUNK_BYTES = 4 * 2**20
IMBALANCE = 10  # the largest class has so many times the training images of the smallest


def prepare(
    dataset: str,
    image_size: int | None,
    resize: Resize,
    training_images: int | None,
    skip_unreadable: bool,
    split: Split,
) -> Dataset:
    """Everything of the split stage. Raises `UserError`; then nothing in `data/prepared` has changed."""
    PREPARED.mkdir(parents=True, exist_ok=True)
    for stale in PREPARED.glob(".*.tmp"):  # of a process that was killed: their space is needed now
        stale.unlink()
    # A file without a name, which vanishes with the process.
    with files.naming(PREPARED, PREPARED), tempfile.TemporaryFile(dir=PREPARED) as scratch:
        staged = stage(dataset, Fit(image_size, resize) if image_size else None, skip_unreadable, scratch)
        staged = staged._replace(official=_official(staged, dataset, split))
        groups = _groups(staged.names, split.groups)
        division = _divide(staged, groups, split)
        if training_images is not None:
            if training_images < len(staged.classes):
                raise UserError(
                    f"data.limit is {training_images}, below one image for each of {len(staged.classes)} classes"
                )
            division = limit(division, staged.labels, training_images, split.seed)
        _check(staged, division, split)
        record = _write(dataset, staged, division, groups, resize if image_size else None)
    _tell(record)
    return record


def _official(staged: Staged, dataset: str, split: Split) -> NDArray[np.int8]:
    """Where the source puts each image, after `split.validation_from_test`. Says what of `split` has no effect."""
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
        raise UserError(f"split.groups: {pattern!r} is found in none of the names, such as {names[0]!r}")
    rest = f"; {counted(unmatched, 'image')} without a match, each its own group" if unmatched else ""
    print(f"groups: {len(set(groups)) - unmatched:,} in {counted(len(names) - unmatched, 'image')}{rest}")
    return groups


def _divide(staged: Staged, groups: list[str] | None, split: Split) -> Division:
    counts = np.bincount(staged.labels, minlength=len(staged.classes))
    if len(counts) < 2:
        raise UserError(f"there is only one class, {staged.classes[0]!r}: each needs a folder of its own")
    for name, count in zip(staged.classes, counts, strict=True):
        if count < 2:
            raise UserError(f"class {name!r} has {counted(count, 'image')} in the source: every split needs some")
    units = find_units(staged.digests, *([groups] if groups else []))
    return divide(
        staged.labels,
        staged.official,
        units,
        0.0 if (staged.official == VALIDATION).any() else split.validation,
        0.0 if (staged.official == TEST).any() else split.test,
        split.seed,
    )


def _check(staged: Staged, division: Division, split: Split) -> None:
    """Every side that is wanted must have an image of every class."""
    wanted = (True, split.validation or VALIDATION in staged.official, split.test or TEST in staged.official)
    for name, indices, needed in zip(SPLITS, division[:3], wanted, strict=True):
        counts = np.bincount(staged.labels[indices], minlength=len(staged.classes))
        if needed and not counts.all():
            label = int(np.argmin(counts))
            total = int((staged.labels == label).sum())
            raise UserError(
                f"class {staged.classes[label]!r} gets no {name} image of its {total} (equal images and groups are not "
                "divided): add images, or change split or data.limit"
            )


def _write(
    dataset: str, staged: Staged, division: Division, groups: list[str] | None, resize: Resize | None
) -> Dataset:
    """Writes all files under temporary names, then renames them, `dataset.json` last."""
    _, height, width, channels = staged.pixels.shape
    mean, std = [0.0], [1.0]
    splits: dict[SplitName, SplitRecord] = {}
    with ExitStack() as stack:
        # Files are renamed in the opposite order.
        description = stack.enter_context(files.replacing(DATASET))
        for name, indices in zip(SPLITS, division[:3], strict=True):
            images_path, labels_path = (stack.enter_context(files.replacing(path)) for path in array_paths(name))
            histogram = _write_images(images_path, staged.pixels, indices)
            if name == "train":
                mean, std = _mean_std(histogram)
            with labels_path.open("wb") as file:
                _write_header(file, "<i8", indices.shape)
                file.write(staged.labels[indices].astype("<i8").data)
            counts = np.bincount(staged.labels[indices], minlength=len(staged.classes))
            splits[name] = SplitRecord(
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
            splits=splits,
            duplicates=_duplicates(staged, division),
            unreadable=staged.unreadable,
        )
        files.write_json(description, record.model_dump())
        DATASET.unlink(missing_ok=True)  # until the new one is there, nothing is taken for whole
    return record


def _write_images(path: Path, pixels: NDArray[np.uint8], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gathers images in chunks into an .npy file. Returns how often each channel has each value, (C, 256)."""
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
    """Of an .npy file. `np.save` hides why writing failed, such as a full disk."""
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})


def _mean_std(histogram: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Per channel, pixels in [0, 1]. The sums are whole numbers, so the result does not depend on any order."""
    means, stds = [], []
    for counts in histogram.tolist():
        n = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value * value * count for value, count in enumerate(counts))
        means.append(total / (n * 255))
        stds.append(math.sqrt(n * squares - total * total) / (n * 255))  # exactly rounded, unlike a power
    return means, stds


def _duplicates(staged: Staged, division: Division) -> Duplicates:
    """Of the images that are kept or were dropped as duplicates: what `data.limit` leaves out is of no interest."""
    kept = set(np.concatenate(division[:3]).tolist())
    dropped = set(division.dropped.tolist())
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
        dropped=[staged.names[index] for index in division.dropped], together=together, conflicting=conflicting
    )


def _tell(record: Dataset) -> None:
    image, duplicates = record.image, record.duplicates
    counts = ", ".join(f"{name} {split.count:,}" for name, split in record.splits.items())
    print(f"{record.name}: {len(record.classes)} classes, {image.height}×{image.width}×{image.channels}: {counts}")
    if record.unreadable:
        print(f"left out {counted(len(record.unreadable), 'unreadable file')}, listed in {DATASET}")
    if duplicates.dropped:
        print(f"dropped {counted(len(duplicates.dropped), 'image')}: equal to, or of one group with, held-out images")
    if duplicates.together:
        print(f"kept {counted(len(duplicates.together), 'set')} of equal images undivided")
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
