"""Pictures of the data: sample images, class distribution, and one image as augmentation changes it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.data.prepared import DuplicateSets, Example, LabelledImages, SplitName
from src.figures.sheet import Tile, sheet, spread
from src.figures.style import SMALL, SPLIT_COLOURS, drawing, only_bottom, short

_COLUMNS = 10
_INCHES = 0.85
_MOST_CLASSES = 40
_MOST_SAMPLED = 100  # classes
_PREVIEW_COLUMNS = 8
_PREVIEW_INCHES = 1.1
_PAIR_INCHES = 1.4


def samples(
    path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str], count: int
) -> None:
    """Draw `count` training images, class by class, from images (N, H, W, C) and labels (N,).

    Every class gets the same number, at least one; of more than a hundred classes, evenly spaced ones are shown.
    """
    present = np.unique(labels)
    shown = present[spread(len(present), max(count, _MOST_SAMPLED))]
    each = max(1, count // len(shown))
    groups = []
    for label in shown:
        members = np.flatnonzero(labels == label)
        tiles = [Tile(images[index]) for index in members[spread(len(members), each)]]
        tiles[0] = replace(tiles[0], lines=[classes[label]], room=min(len(tiles), _COLUMNS) * _INCHES)
        groups.append(tiles)
    chunks = [group[start : start + _COLUMNS] for group in groups for start in range(0, len(group), _COLUMNS)]
    per_row = _COLUMNS // max(map(len, chunks))
    which = "" if len(shown) == len(classes) else f" of {len(shown)} of the {len(classes)} classes"
    height, width = images.shape[1:3]
    count = sum(map(len, groups))
    caption = f"{count} of {len(images):,} images, {width}×{height} pixels, evenly spaced within each class."
    sheet(path, chunks, f"Training images{which}", caption, columns=per_row, image_inches=_INCHES)


def class_distribution(path: Path, counts: Mapping[SplitName, Sequence[int]], classes: Sequence[str]) -> None:
    """Draw the number of images per class, a panel for each split; `counts` has them (K,) by the split's name."""
    filled = {split: np.asarray(numbers) for split, numbers in counts.items() if sum(numbers)}
    order = np.arange(len(classes))
    title = "Images per class"
    if len(classes) > _MOST_CLASSES:
        by_size = np.argsort(-filled["train"], kind="stable")
        order = np.concatenate([by_size[: _MOST_CLASSES // 2], by_size[-_MOST_CLASSES // 2 :]])
        title += f": the {_MOST_CLASSES // 2} largest and {_MOST_CLASSES // 2} smallest of {len(classes)}"
    missing = [split for split in counts if split not in filled]
    caption = "Each panel has its own scale; equal shapes mean that a split holds the classes in equal shares."
    if missing:
        caption += f" There are no {' and no '.join(missing)} images."
    with drawing(path, 9.0, 0.6 + 0.2 * len(order), title, caption) as (figure, _):
        panels = figure.subplots(1, len(filled), sharey=True, squeeze=False)[0]
        for axes, (split, numbers) in zip(panels, filled.items(), strict=True):
            bars = axes.barh(np.arange(len(order)), numbers[order], height=0.7, color=SPLIT_COLOURS[split])
            axes.bar_label(bars, labels=[f"{number:,}" for number in numbers[order]], padding=3, fontsize=SMALL)
            axes.margins(x=0.2, y=0.01)
            axes.set_title(f"{split}: {numbers.sum():,}")
            axes.xaxis.set_visible(False)
            axes.spines["bottom"].set_visible(False)
            only_bottom(axes)
        panels[0].set_yticks(
            np.arange(len(order)), [short(classes[index], 28) for index in order.tolist()], fontsize=SMALL
        )
        panels[0].invert_yaxis()


def augmentations(path: Path, images: NDArray[np.uint8]) -> None:
    """Draw images (N, H, W, C): the first as it is, the others as the training's augmentation changed it."""
    tiles = [Tile(image) for image in images]
    tiles[0] = Tile(images[0], ["original"], _PREVIEW_INCHES)
    caption = (
        "One training image, and what the network was given instead of it: every epoch draws anew. What a person could "
        "not name any more, the network should not have to learn."
    )
    title = f"Augmentation: one image, {len(images) - 1} draws"
    groups = [[tile] for tile in tiles]
    sheet(path, groups, title, caption, columns=_PREVIEW_COLUMNS, image_inches=_PREVIEW_INCHES, group_gap=0.1)


def duplicates(
    path: Path, found: DuplicateSets, splits: Mapping[SplitName, LabelledImages], classes: Sequence[str], kind: str
) -> None:
    """Draw examples of equal or nearly equal images, a row for each set, as far as `splits` has them."""

    def tile(example: Example) -> Tile:
        images, labels = splits[example.split]
        of_class = f"{example.split}: ", classes[labels[example.index]], ""
        return Tile(images[example.index], [of_class, example.name], _PAIR_INCHES)

    rows = [[tile(example) for example in examples if example.split in splits] for examples in found.examples]
    caption = f"{found}. Each row is one set. Where the source does not divide it, it is in one split."
    rows = [row for row in rows if row]
    sheet(path, rows, f"{kind}: examples", caption, columns=1, image_inches=_PAIR_INCHES, gap=0.25)
