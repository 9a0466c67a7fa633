"""Turn `data/raw` into `data/prepared`: split the staged images, write arrays and `dataset.json`, say what was done."""

import functools
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.core import files
from src.core.errors import UserError
from src.core.paths import DATASET, PREPARED
from src.data.corrections import correct
from src.data.duplicates import duplicate_sets
from src.data.images import Resize
from src.data.layout import counted
from src.data.near import SMALLEST, near_duplicates
from src.data.prepared import (
    LABELS,
    SAMPLES,
    SHARDS,
    SPLITS,
    Dataset,
    Duplicates,
    ImageFormat,
    SplitName,
    SplitRecord,
    split_folder,
)
from src.data.report import report
from src.data.shards import by_shard, md5s, write_images, write_labels, write_samples
from src.data.splitting import TEST, TRAIN, VALIDATION, Indices, find_units, limit, match_groups, numbered, place, ranks
from src.data.staging import Staged, stage
from src.params import Data, Split

_BUFFER = 2**20  # bytes; each write lets another thread take Python's lock


def prepare(data: Data, split: Split) -> Dataset:
    """Do the work of the split stage. Raise `UserError`; then nothing in `data/prepared` has changed."""
    PREPARED.mkdir(parents=True, exist_ok=True)
    for stale in PREPARED.glob(".*.tmp"):  # of a process that was killed: their space is needed now
        shutil.rmtree(stale)
    # A file without a name, which vanishes with the process.
    with files.naming(PREPARED, PREPARED), tempfile.TemporaryFile(buffering=_BUFFER, dir=PREPARED) as scratch:
        staged, scene = correct(stage(data, scratch))
        staged = staged._replace(official=_official(staged, data.name, split))
        groups = staged.groups or (match_groups(staged.names.tolist(), split.groups) if split.groups else None)
        _, first, same = np.unique(staged.digests.view("V16").ravel(), return_index=True, return_inverse=True)
        equal, near = first[same], None
        if split.near_duplicates == "together" and min(staged.pixels.shape[1:3]) >= SMALLEST:
            near = near_duplicates(staged.pixels, equal)
        group = None if groups is None else numbered(groups, len(groups))
        units = find_units(*(key for key in (equal, near, group, scene) if key is not None))
        where = _split(staged, units, groups, data.limit, split)
        most = max(1, round(split.shard_mib * 2**20) // staged.pixels[0].nbytes)
        shards: list[list[Indices]] = []  # of each split, the indices of the images of each
        position = np.zeros(len(where), np.int64)  # of an image in its split
        for which in range(len(SPLITS)):
            indices = np.flatnonzero(where == which)
            shards.append([indices[part] for part in by_shard(staged.digests[indices], equal[indices], most)])
            position[np.concatenate(shards[-1])] = np.arange(len(indices))
        sets = functools.partial(
            duplicate_sets, split=where, position=position, labels=staged.labels, names=staged.names
        )
        duplicates = Duplicates(equal=sets(equal), near=None if near is None else sets(near, without=equal))
        resize = data.resize if data.image_size else None
        record = _write(data.name, staged, shards, groups, duplicates, resize)
    report(record)
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


def _split(
    staged: Staged, units: Indices, groups: list[str] | None, training_images: int | None, split: Split
) -> NDArray[np.int8]:
    """Return the split of each image, −1 where `data.limit` leaves it out. Raise `UserError` if one lacks a class."""
    counts = np.bincount(staged.labels[staged.official >= 0], minlength=len(staged.classes))
    if len(counts) < 2:
        raise UserError(f"there is only one class, {staged.classes[0]!r}: each needs a folder of its own")
    for name, count in zip(staged.classes, counts, strict=True):
        if count < 2:
            raise UserError(f"class {name!r} has {counted(count, 'image')} in the source: every split needs some")
    validation = 0.0 if VALIDATION in staged.official else split.validation
    test = 0.0 if TEST in staged.official else split.test
    identities = (group.encode("utf-8", "surrogateescape") for group in groups) if groups else staged.digests
    rank = ranks((bytes(identity) for identity in identities), split.seed)
    where = place(staged.labels, staged.official, units, rank, validation, test)
    train = int((where == TRAIN).sum())
    if training_images is not None and training_images < train:
        if training_images < len(staged.classes):
            raise UserError(
                f"data.limit is {training_images}, below one image for each of {len(staged.classes)} classes"
            )
        limited = np.full_like(where, -1)
        for which in (TRAIN, VALIDATION, TEST):
            indices = np.flatnonzero(where == which)
            share = round(len(indices) * training_images / train)
            limited[indices[limit(staged.labels[indices], rank[indices], share)]] = which
        where = limited
    wanted = (True, split.validation or VALIDATION in staged.official, split.test or TEST in staged.official)
    for which, needed in zip((TRAIN, VALIDATION, TEST), wanted, strict=True):
        found = np.bincount(staged.labels[where == which], minlength=len(staged.classes))
        if needed and not found.all():
            label = int(np.argmin(found))
            raise UserError(
                f"class {staged.classes[label]!r} gets no {SPLITS[which]} image of its {counts[label]} (equal images "
                "and groups stay together): add images, or change split or data.limit"
            )
    return where


def _write(
    dataset: str,
    staged: Staged,
    shards: list[list[Indices]],
    groups: list[str] | None,
    duplicates: Duplicates,
    resize: Resize | None,
) -> Dataset:
    """Write all files into a temporary folder, then put them in the place of those before, `dataset.json` last."""
    _, height, width, channels = staged.pixels.shape
    mean, std = [0.0], [1.0]
    records: dict[SplitName, SplitRecord] = {}
    with tempfile.TemporaryDirectory(dir=PREPARED, prefix=".", suffix=".tmp") as temporary:
        for which, name in enumerate(SPLITS):
            folder = Path(temporary) / name
            folder.mkdir()
            indices = np.concatenate(shards[which])
            histogram = np.zeros((channels, 256), np.int64)
            for number, members in enumerate(shards[which]):
                histogram += write_images(folder / SHARDS.format(number), staged.pixels, members)
            if name == "train":
                mean, std = _mean_std(histogram)
            write_labels(folder / LABELS, staged.labels[indices])
            write_samples(folder / SAMPLES, staged.names, groups, staged.digests, indices)
            counts = np.bincount(staged.labels[indices], minlength=len(staged.classes))
            per_class = dict(zip(staged.classes, counts.tolist(), strict=True))
            records[name] = SplitRecord(count=len(indices), per_class=per_class, md5=md5s(folder))
        record = Dataset(
            name=dataset,
            classes=staged.classes,
            image=ImageFormat(height=height, width=width, channels=channels, resize=resize),
            mean=mean,
            std=std,
            splits=records,
            duplicates=duplicates,
            unreadable=staged.unreadable,
        )
        DATASET.unlink(missing_ok=True)  # until the new one is there, nothing is taken for complete
        for name in SPLITS:
            if split_folder(name).exists():
                shutil.rmtree(split_folder(name))
            (Path(temporary) / name).rename(split_folder(name))
    files.write_json(DATASET, record.model_dump())
    return record


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
