"""Augmentation of whole batches on the device, with an independent draw for every image.

    drawn = draw(config, len(order), (height, width), generator)      once a segment of an epoch, on the CPU
    images, mix = apply(config, images, batch)                        for every batch of `drawn.split(batch_size)`

No library does this as fast. torchvision's operators draw once for a whole batch; called for each image, they take 3 to
21 times as long as ours on 128 images of 32×32 pixels. kornia's take 1.1 to 4.5 times as long for each operator, where
ours are one interpolation for all geometry (`benchmarks/augmentation.json`). Tests compare geometry, colour, policies,
erasing, mixing and all distributions with torchvision's.
"""

from src.training.augment.batch import apply, check, preview
from src.training.augment.mixing import Mix
from src.training.augment.parameters import AugmentParams, alternating, draw

__all__ = ["AugmentParams", "Mix", "alternating", "apply", "check", "draw", "preview"]
