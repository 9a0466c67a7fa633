"""Augmentation of whole batches on the device, with an independent draw for every image.

    draws = draw(section, len(order), (height, width), generator)      once an epoch, on the CPU
    images, mix = apply(section, images, batch_draws)                  for every batch of `draws.split(batch_size)`

Written here rather than called from a library: torchvision's operators draw once for a whole batch, and kornia's
take several times as long for batches of small images (`benchmarks/augmentation.json`). Tests hold every operator
equal to torchvision's, image by image.
"""

from src.training.augment.batch import apply, check, preview
from src.training.augment.draws import Draws, draw
from src.training.augment.mixing import Mix

__all__ = ["Draws", "Mix", "apply", "check", "draw", "preview"]
