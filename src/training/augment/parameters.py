"""Augmentation parameters: all that is drawn for the images of a segment."""

import math
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from src import params
from src.training.augment import colour, geometry, mixing, noise, policy, rectangles

# Zhong et al., 2020 (arXiv 1708.04896), as torchvision; the aspect is height over width in pixels
ERASED_AREA, ERASED_ASPECT = (0.02, 0.33), (0.3, 3.3)


class AugmentParams(NamedTuple):
    """Hold what was drawn for N images; None where the operator is off. Drawn on the CPU: the same for every device."""

    flip: Tensor  # bool (N, 2): up–down, left–right
    shift: Tensor  # int64 (N, 2): pixels down and right
    window: Tensor | None  # float32 (N, 2, 2): see `geometry.windows`
    matrix: Tensor | None  # float32 (N, 3, 3): see `geometry.matrices`
    colour: Tensor | None  # float32 (N, 5): see `colour.draw_factors`
    policy: Tensor | None  # float32 (N, L, 2): see `policy.draw`
    levels: Tensor | None  # float32 (N, 2): see `noise.draw_levels`
    keys: Tensor | None  # int32 (N,): see `noise.draw_keys`
    erased: Tensor | None  # int64 (N, 4): top, left, bottom, right of a rectangle, perhaps empty
    weight: Tensor | None  # float32 (N,): share of the own label
    pasted: Tensor | None  # int64 (N, 4): the rectangle that comes from another image, perhaps empty

    def to(self, device: torch.device) -> "AugmentParams":
        """Return a copy on the device, without waiting for it."""
        return self._each(lambda column: column.to(device, non_blocking=True))

    def pin_memory(self) -> "AugmentParams":
        """Return a copy in pinned memory, which a GPU reads while the host goes on."""
        return self._each(Tensor.pin_memory)

    def take(self, images: Tensor) -> "AugmentParams":
        """Return the parameters of the images at these positions (M,)."""
        return self._each(lambda column: column[images])

    def split(self, batch_size: int) -> Iterator["AugmentParams"]:
        """Yield the same parameters in batches."""
        columns = (repeat(None) if column is None else torch.split(column, batch_size) for column in self)
        return (AugmentParams(*batch) for batch in zip(*columns, strict=False))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "AugmentParams":
        changed = (None if column is None else change(column) for column in self)
        return AugmentParams(*changed)  # type: ignore[arg-type]


def alternating(order: Tensor, images: int, seed: int, epoch: int) -> Tensor:
    """Return which images are mirrored in the given epoch, bool (M,). order: indices (M,) of all `images` images.

    About half of all images, drawn by the seed, are mirrored in the first epoch, the others in the second, and so on:
    two epochs show every image both ways, where random flips do so for half of the images. K. Jordan, 2024 (arXiv
    2404.00498).
    """
    first = torch.rand(images, generator=Generator().manual_seed(seed)) < 0.5
    return first[order] ^ (epoch % 2 == 0)


def draw(
    augment: params.Augment, count: int, size: tuple[int, int], generator: Generator, alternate: Tensor | None = None
) -> AugmentParams:
    """Draw the parameters of `count` images of the given height and width, within the bounds of `augment`.

    alternate: which images are mirrored, from `alternating`; None to draw that too.
    """
    uniform = torch.rand(2, count, generator=generator) * 2 - 1
    mirrored = torch.rand(count, generator=generator) < 0.5
    if alternate is not None:
        mirrored = alternate
    farthest = geometry.most_shift(augment, size)
    shift = torch.randint(-farthest, farthest + 1, (count, 2), generator=generator)
    # A generator for each group of operators: switching one on leaves the draws of the others as they are.
    seeds = torch.randint(2**63 - 1, (8,), generator=generator).tolist()
    upside, affine, colours, noisy, erasing, mixes, cropping, choosing = (Generator().manual_seed(s) for s in seeds)

    turned = torch.rand(count, generator=upside) < 0.5
    angle, scale = uniform[0] * math.radians(augment.rotate), 1 + uniform[1] * augment.scale
    has_noise = bool(augment.noise or augment.salt_pepper)
    window, matrix, weight, pasted, erased = None, None, None, None, None
    chosen = None if augment.policy is None else policy.draw(augment.policy, count, choosing)
    if geometry.interpolates(augment):
        matrix = geometry.matrices(augment, angle, scale, size, affine)
        for each in () if chosen is None else chosen.unbind(1):
            matrix = matrix @ policy.matrices(each, size)
    if augment.resized_crop is not None:
        window = geometry.windows((augment.resized_crop[0], augment.resized_crop[1]), count, cropping)
    if augment.mixes:
        weight, pasted = mixing.draw_shares(augment, count, size, mixes)
    if augment.erase:
        height, width = size
        aspect = ERASED_ASPECT[0] * (width / height), ERASED_ASPECT[1] * (width / height)
        most = 1 - 0.5 / torch.tensor(size)  # less than the image once it is rounded to pixels
        boxes = rectangles.place(rectangles.sides(count, ERASED_AREA, aspect, most, 0.0, erasing), size, erasing)
        erased = boxes * (torch.rand(count, 1, generator=erasing) < augment.erase)
    return AugmentParams(
        flip=torch.column_stack([turned & augment.flip_vertical, mirrored & bool(augment.flip)]),
        shift=shift,
        window=window,
        matrix=matrix,
        colour=colour.draw_factors(augment, count, colours) if colour.changes(augment) else None,
        policy=chosen,
        levels=noise.draw_levels(augment, count, noisy) if has_noise else None,
        keys=noise.draw_keys(count, noisy) if has_noise else None,
        erased=erased,
        weight=weight,
        pasted=pasted,
    )
