"""Corruptions of batches: shifts, noise, and the fast gradient sign attack.

Every function takes images (N, H, W, C) with pixels of 0 to 255. Results that are not uint8 are float32, clipped to
that range but not rounded, since rounding would remove changes below 1/255, or enlarge them.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.core.errors import UserError
from src.models.classifier import Classifier

# By one pixel: down, right.
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}

# Not the run's seed, so that all models meet the same noise.
SEED = 0
_NORMAL, _UNIFORM = 1, 2


def shift(images: Tensor, direction: str, pixels: int) -> Tensor:
    """Shift the images; zeros move in, as in training. Raises `UserError` if nothing of an image would be left."""
    height, width = images.shape[1:3]
    if pixels >= min(height, width):
        raise UserError(
            f"images of {height}×{width} pixels cannot be shifted by {pixels}: lower evaluate.robustness.shifts"
        )
    down, right = (pixels * step for step in DIRECTIONS[direction])
    return F.pad(images, (0, 0, right, -right, down, -down))


def draw_normal(images: Tensor, numbers: Sequence[int]) -> Tensor:
    """Draw standard normal float32 (N, H, W, C), which depends for each image on its number and size alone."""
    drawn = [
        np.random.default_rng([SEED, _NORMAL, number]).standard_normal(images.shape[1:], np.float32)
        for number in numbers
    ]
    return torch.from_numpy(np.stack(drawn)).to(images.device)


def draw_uniform(images: Tensor, numbers: Sequence[int]) -> Tensor:
    """Draw float32 (N, H, W, 1) in [0, 1), the same for all channels; each image's by its number, as `draw_normal`."""
    shape = (*images.shape[1:3], 1)
    drawn = [np.random.default_rng([SEED, _UNIFORM, number]).random(shape, np.float32) for number in numbers]
    return torch.from_numpy(np.stack(drawn)).to(images.device)


def salt_pepper(images: Tensor, noise: Tensor, share: float) -> Tensor:
    """Make the `share` of the pixels that the noise of `draw_uniform` chooses black or white.

    The pixels of a smaller share are among those of a larger one.
    """
    peppered = images.masked_fill(noise < share / 2, 0)
    return peppered.masked_fill(noise >= 1 - share / 2, 255)


def add(images: Tensor, change: Tensor, strength: float) -> Tensor:
    """Add `strength`, for pixels in [0, 1], times the noise of `draw_normal`, or the signs of `gradient_signs`.

    The latter is the fast gradient sign method of Goodfellow, Shlens and Szegedy, "Explaining and harnessing
    adversarial examples", ICLR 2015, arXiv 1412.6572.
    """
    return (images + 255 * strength * change).clamp(0, 255)


def gradient_signs(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Return the sign (−1, 0 or 1) of the cross entropy's gradient at each pixel, float32 (N, H, W, C).

    The gradient of −log p_y is 1 − p_y times that of log Σ_{k≠y} exp(z_k) − z_y, so both have the same sign. The
    second is computed: the first rounds to 0 where the network is sure, as if such an image could not be attacked.
    """
    pixels = images.float().requires_grad_()
    with torch.enable_grad():
        logits = classifier(pixels)
        own = torch.arange(logits.shape[1], device=logits.device) == labels[:, None]
        others = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
        (gradient,) = torch.autograd.grad((others - (logits * own).sum(dim=1)).sum(), pixels)
    return gradient.sign()
