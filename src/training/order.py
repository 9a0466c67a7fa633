"""The order in which an epoch learns from the images, and how each is augmented: a function of seed and epoch."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.compute import distributed
from src.compute.batches import Batches
from src.training import augment
from src.training.step import TrainStep

# The most that a segment holds: it is drawn at once, and the state of a training can be saved at its end.
_SEGMENT_BYTES, _SEGMENT_IMAGES = 2**28, 2**17
_WINDOW = 4  # shards whose images are shuffled together


class Segment(NamedTuple):
    """Hold a part of an epoch, as far as this process computes it. Small data sets have one segment in each epoch."""

    order: Tensor  # int64 (M,), indices of the images on the CPU
    augment_params: augment.AugmentParams
    steps: int  # of the whole epoch
    last: bool


def draw_segments(train_step: TrainStep, training: Batches, seed: int, number: int, segments: int) -> Iterator[Segment]:
    """Yield the segments of epoch `number` after the first `segments`, then those of all later epochs, without end.

    Each is a function of (seed, epoch, segment) alone; torch's own random state stays as it is. A few images at the end
    of the order are left out of an epoch where the last batch could not be divided equally among the processes, or
    would leave batch norm a single image to learn from. With `train.drop_last` the last batch is left out where it is
    not full, unless it is the only one.
    """
    config, processes = train_step.config, distributed.world_size()
    height, width, channels = training.image_shape
    images = min(_SEGMENT_BYTES // (height * width * channels), _SEGMENT_IMAGES)
    images = max(1, images // config.batch_size) * config.batch_size
    labels = training.labels.cpu() if config.sampling == "balanced" else None
    for epoch in itertools.count(number):
        generator = torch.Generator().manual_seed(segment_seeds(seed, epoch, 0)[1])
        times = None if labels is None else balanced(labels, generator)
        order = shuffled(training.shards, generator, times)
        if len(order) > 1:
            rest = len(order) % config.batch_size
            left_out = rest % processes
            if config.drop_last and rest < len(order):
                left_out = rest
            elif (rest // processes) % train_step.part_size == 1:
                left_out += processes
            order = order[: len(order) - left_out]
        steps = -(-len(order) // config.batch_size)
        parts = torch.split(order, images)
        for segment, part in enumerate(parts):
            if segment:
                generator = torch.Generator().manual_seed(segment_seeds(seed, epoch, segment)[1])
            if epoch == number and segment < segments:
                continue
            alternate = None
            if config.augment.flip == "alternate":
                alternate = augment.alternating(part, len(training), seed, epoch)
            drawn = augment.draw(config.augment, len(part), (height, width), generator, alternate)
            # Drawn for whole batches, of which every process computes its part.
            own = distributed.train_shard(len(part), config.batch_size)
            drawn = drawn.take(own)
            drawn = drawn.pin_memory() if train_step.compute.device.type == "cuda" else drawn
            yield Segment(part[own], drawn, steps, last=segment == len(parts) - 1)


def balanced(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw how often each image occurs in an epoch in which all classes occur equally often: int64 (N,), sum N.

    Within a class, no image occurs more than once more often than another. labels: int64 (N,).
    """
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]  # class after class, the images of each in random order
    counts = labels.bincount()
    counts = counts[counts > 0]
    drawn = torch.arange(len(labels))
    which, number = drawn % len(counts), drawn // len(counts)  # the class of each draw, and which draw of it this is
    return by_class[(counts.cumsum(0) - counts)[which] + number % counts[which]].bincount(minlength=len(labels))


def shuffled(shards: Sequence[int], generator: torch.Generator, times: Tensor | None = None) -> Tensor:
    """Return the indices of all images in random order. shards: how many images each holds.

    times: how often each image occurs, (N,); None for once. The shards are put in random order; then the images of each
    `_WINDOW` neighbouring shards are shuffled together, so that few shards are read at the same time.
    """
    starts = np.cumsum([0, *shards])
    order = torch.randperm(len(shards), generator=generator).tolist() if len(shards) > 1 else [0]
    windows = []
    for first in range(0, len(order), _WINDOW):
        window = order[first : first + _WINDOW]
        indices = torch.cat([torch.arange(starts[shard], starts[shard + 1]) for shard in window])
        if times is not None:
            indices = indices.repeat_interleave(times[indices])
        windows.append(indices[torch.randperm(len(indices), generator=generator)])
    return torch.cat(windows)


def segment_seeds(seed: int, number: int, segment: int) -> tuple[int, int]:
    """Return two seeds for a segment of epoch `number`: of its dropout, and of its order and augmentation.

    Neighbouring seeds, epochs and segments give unrelated numbers: numpy's `SeedSequence` mixes them.
    """
    dropout, drawing = np.random.SeedSequence([seed, number, *[segment] * (segment > 0)]).generate_state(2)
    return int(dropout), int(drawing)
