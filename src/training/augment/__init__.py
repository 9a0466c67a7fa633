"""Augmentation of whole batches on the device, with an independent draw for every image.

    drawn = draw(config, len(order), (height, width), generator)      once an epoch, on the CPU
    images, mix = apply(config, images, batch)                        for every batch of `drawn.split(batch_size)`

Written here rather than called from a library: torchvision's operators draw once for a whole batch and, called for
every image, take 3 to 21 times as long as ours on 128 of 32×32 pixels; kornia's take 1.1 to 4.5 times as long, and for
each operator instead of once for all geometry (`benchmarks/augmentation.json`). Tests hold geometry, colour, policies,
erasing and mixing equal to torchvision's, image by image, what is drawn to the same distributions, and noise to its
definition.
"""

from src.training.augment.batch import apply, check, preview
from src.training.augment.mixing import Mix
from src.training.augment.parameters import AugmentParams, alternating, draw

__all__ = ["AugmentParams", "Mix", "alternating", "apply", "check", "draw", "preview"]
