"""Turn `data/raw` into `data/prepared`: split the staged images, write arrays and `dataset.json`, say what was done."""

import math
import tempfile
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from src.core import files
from src.core.errors import UserError
from src.core.paths import DATASET, PREPARED
from src.core.words import counted, listed, quoted
from src.data.corrections import correct
from src.data.duplicates import SMALLEST, copies_of_train, duplicate_sets, equal_images, near_duplicates
from src.data.known import PUBLISHED_SETS
from src.data.prepared import SPLITS, Dataset, Duplicates, ImageFormat, SplitName, SplitRecord
from src.data.shards import write_split
from src.data.splitting import TEST, TRAIN, VALIDATION, Indices, find_units, limit_splits, match_groups, place, ranks
from src.data.staging import Staged, stage
from src.params import Data, Split

_MOST_CLASSES = 40  # in the table that is printed
_BUFFER = 2**20  # bytes; each write lets another thread take Python's lock


def prepare(data: Data, split: Split) -> Dataset:
    """Do the work of the split stage. Raise `UserError`; then nothing in `data/prepared` has changed."""
    PREPARED.mkdir(parents=True, exist_ok=True)
    # A file without a name, which vanishes with the process.
    with tempfile.TemporaryFile(buffering=_BUFFER, dir=PREPARED) as scratch:
        # All images with their labels; what follows decides where they go.
        staged = correct(stage(data, scratch))
        if split.groups and staged.groups is None:
            staged = staged._replace(groups=match_groups(staged.names.tolist(), split.groups))
        elif split.groups:
            print("the table of labels has groups: split.groups is not used")
        equal, near = equal_images(staged.pixel_digests), None
        # Known data sets have duplicates that are known.
        searched = split.near_duplicates == "together" and data.name not in PUBLISHED_SETS
        if searched and min(staged.pixels.shape[1:3]) >= SMALLEST:
            near = near_duplicates(staged.pixels, equal)
        elif searched:
            print(f"nearly equal images are not looked for below {SMALLEST} pixels: see split.groups")
        groups = staged.groups
        group = np.unique(np.array(groups, staged.names.dtype), return_inverse=True)[1] if groups else None
        units = find_units(*(key for key in (equal, near, group) if key is not None))
        where = _split(data, staged, units, split)
        if group is not None:
            _print_divided(group, where)
        record = _write(data, staged, where, equal, near, round(split.shard_mib * 2**20))
    _print_overview(record)
    return record


def _print_divided(group: Indices, where: NDArray[np.int8]) -> None:
    """Print how many groups of images that agree in `group` (N,) the source itself has put into several splits."""
    inside = where >= 0
    splits = np.unique(np.stack([group[inside], where[inside]]), axis=1)  # each split of each group once
    if divided := int((np.bincount(splits[0]) > 1).sum()):
        print(f"{counted(divided, 'group')} in more than one of the source's own splits")


def _identities(staged: Staged) -> Iterable[bytes]:
    """Return for each image what decides where it goes: its group, else the content of its file."""
    contents: Iterable[bytes] = map(bytes, staged.file_digests)
    if staged.groups is None:
        return contents
    known = zip(staged.groups, staged.names, contents, strict=True)
    # An image without a group has its name for one, which may change.
    return (content if group == name else group.encode() for group, name, content in known)


def _split(data: Data, staged: Staged, units: Indices, split: Split) -> NDArray[np.int8]:
    """Return the split of each image, −1 where it is left out, and say what of `split` has no effect.

    Raise `UserError` if the source has too few images for it, or a split lacks a class.
    """
    classes = len(staged.classes)
    if classes < 2:
        raise UserError(
            f"there is only one class, {staged.classes[0]!r}: give each a folder of its own, or list the photos in "
            "labels.csv (file,label)"
        )
    official = staged.official.copy()
    if wanted := split.validation_from_test:
        tests = np.flatnonzero(official == TEST)
        if wanted >= len(tests):
            few = f"only {len(tests):,} test images of its own: lower it, or set it to 0"
            raise UserError(f"split.validation_from_test is {wanted:,}, but {data.name} has {few}")
        official[tests[:wanted]] = VALIDATION
    shares = {VALIDATION: split.validation, TEST: split.test}
    expected = [TRAIN, *(which for which, share in shares.items() if share or which in official)]
    for which, share in shares.items():
        if share and which in official:
            print(f"the source has its own {SPLITS[which]} images: split.{SPLITS[which]} is not used")
            shares[which] = 0.0
    rank = ranks(_identities(staged), split.seed)
    where = place(staged.labels, official, units, rank, shares[VALIDATION], shares[TEST])
    if data.limit is not None:
        if data.limit < classes:
            raise UserError(f"data.limit is {data.limit}, below one image for each of {classes} classes")
        where = limit_splits(where, staged.labels, rank, data.limit)
    images, ours = (np.bincount(staged.labels[some], minlength=classes) for some in (official >= 0, official == TRAIN))
    for which in expected:
        empty = np.flatnonzero(np.bincount(staged.labels[where == which], minlength=classes) == 0)
        if len(empty):
            lacking = [f"{staged.classes[i]!r} ({counted(int(images[i]), 'image')})" for i in empty]
            if which != TRAIN and which in official:
                raise UserError(f"the source's own {SPLITS[which]} images have none of {listed(lacking)}: add some")
            if images[empty].all() and not ours[empty].any():  # they are all in validation or test
                raise UserError(
                    f"only the source's own validation or test images have {listed(lacking)}: give train the same "
                    "classes, or take images without a class out, for src.predict"
                )
            raise UserError(
                f"no {SPLITS[which]} image is left for {listed(lacking)}: add images (equal and nearly equal ones and "
                "groups stay together), or change split, data.limit or data/corrections.csv; if these are no classes, "
                "images were named in another way: list them in labels.csv (file,label)"
            )
    return where


def _write(
    data: Data, staged: Staged, where: NDArray[np.int8], equal: Indices, near: Indices | None, shard_bytes: int
) -> Dataset:
    """Write all files anew, `dataset.json` last: until it is there, nothing is taken for complete."""
    DATASET.unlink(missing_ok=True)
    records: dict[SplitName, SplitRecord] = {}
    histograms: list[NDArray[np.int64]] = []
    position = np.zeros(len(where), np.int64)  # of an image in its split
    copies = copies_of_train(equal if near is None else near, where)
    for which, name in enumerate(SPLITS):
        ours = np.flatnonzero(where == which)
        records[name], order, histogram = write_split(name, staged, copies, ours, shard_bytes)
        position[order] = np.arange(len(order))
        histograms.append(histogram)
    mean, std = _mean_std(histograms[TRAIN])
    _, height, width, channels = staged.pixels.shape
    columns = (where, position, staged.labels, staged.names)
    resize = data.resize if data.image_size else None
    record = Dataset(
        name=data.name,
        classes=staged.classes,
        image=ImageFormat(height=height, width=width, channels=channels, resize=resize),
        mean=mean,
        std=std,
        splits=records,
        duplicates=Duplicates(
            equal=duplicate_sets(equal, *columns),
            near=None if near is None else duplicate_sets(near, *columns, without=equal),
        ),
        unreadable=staged.unreadable,
    )
    files.write_json(DATASET, record.model_dump())
    return record


def _mean_std(histogram: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Return mean and std per channel, pixels in [0, 1]. The sums are of integers: their order does not matter."""
    sums = np.stack([histogram @ np.arange(256) ** power for power in (0, 1, 2)], axis=1).tolist()
    mean = [total / (n * 255) for n, total, _ in sums]
    # Exactly rounded, unlike a power.
    return mean, [math.sqrt(n * squares - total * total) / (n * 255) for n, total, squares in sums]


def _print_overview(record: Dataset) -> None:
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
