"""mixup and CutMix: an image gets a part of another image, and of its label."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from src import params
from src.training.augment.rectangles import inside


@dataclass(frozen=True)
class Mix:
    """Say what images are mixed with: the loss is weight · loss(label) + (1 − weight) · loss(the partner's label)."""

    partner: Tensor  # int64 (B,): position in the batch
    weight: Tensor  # float32 (B,): share of the image's own label


def draw_shares(
    augment: params.Augment, count: int, size: tuple[int, int], generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw the share of the image's own label, float32 (N,), and the rectangle to paste, int64 (N, 4), empty for mixup.

    mixup: Zhang et al., 2018 (arXiv 1710.09412). CutMix: Yun et al., 2019 (arXiv 1905.04899); the share is that of the
    rectangle as far as it lies within the image. Where both are asked for, each image gets one of them, with equal
    chance.
    """
    numbers = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    averaged, kept = (
        torch.from_numpy(numbers.beta(alpha, alpha, count)) if alpha else torch.ones(count, dtype=torch.float64)
        for alpha in (augment.mixup, augment.cutmix)
    )
    pixels = torch.tensor(size)
    half = (0.5 * (1 - kept).sqrt()[:, None] * pixels).long()
    centre = (torch.rand(count, 2, generator=generator) * pixels).long()
    boxes = torch.cat([(centre - half).clamp(min=0), torch.minimum(centre + half, pixels)], dim=1)
    pasted = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / pixels.prod()

    cuts = torch.rand(count, generator=generator) < (0.5 if augment.mixup else 1.0)
    cuts &= augment.cutmix > 0
    return torch.where(cuts, 1 - pasted, averaged).float(), boxes * cuts[:, None]


def mix(augment: params.Augment, images: Tensor, weight: Tensor, boxes: Tensor) -> tuple[Tensor, Mix]:
    """Mix images (B, H, W, C) with each other; uint8 images stay so unless mixup is asked for.

    The partner of an image is the one before it in the batch, as in torchvision: the order is random already.
    """
    partner = torch.arange(len(images), device=images.device).roll(1)
    others = images[partner]
    if augment.mixup:
        averaged = weight.where((boxes[:, 0] == boxes[:, 2]) | (boxes[:, 1] == boxes[:, 3]), 1.0)
        images = torch.lerp(others.float(), images.float(), averaged[:, None, None, None])
    if augment.cutmix:
        pasted = inside(boxes, (images.shape[1], images.shape[2]))
        images = torch.where(pasted[..., None], others, images)
    return images, Mix(partner, weight)
