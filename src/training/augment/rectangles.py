"""Random rectangles within images, for the operators that cut out, erase or paste one."""

import math

import torch
from torch import Generator, Tensor

TRIES = 10  # as torchvision


def sides(
    count: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
    most: Tensor,
    otherwise: float,
    generator: Generator,
) -> Tensor:
    """Draw height and width, float32 (N, 2), as shares of the image's, of rectangles that fit into it.

    Area share uniform, aspect (height over width, relative to the image's own) log-uniform within the given bounds:
    the first of `TRIES` draws of at most `most` (2,); if there is none, both sides are `otherwise`. So do torchvision's
    RandomResizedCrop and RandomErasing, before they round to pixels.
    """
    result = torch.full((count, 2), otherwise)
    missing = torch.ones(count, dtype=torch.bool)
    low, high = math.log(aspect[0]), math.log(aspect[1])
    for _ in range(TRIES):
        uniform = torch.rand(2, count, generator=generator)
        areas = area[0] + uniform[0] * (area[1] - area[0])
        aspects = (low + uniform[1] * (high - low)).exp()
        tried = torch.stack([(areas * aspects).sqrt(), (areas / aspects).sqrt()], dim=1)
        fits = missing & (tried <= most).all(dim=1)
        result[fits] = tried[fits]
        missing &= ~fits
    return result


def place(shares: Tensor, size: tuple[int, int], generator: Generator) -> Tensor:
    """Draw where rectangles lie whose sides (N, 2) are shares of the image's: top, left, bottom, right (N, 4)."""
    pixels = torch.tensor(size)
    extent = (shares * pixels).round().long()
    start = (torch.rand(len(shares), 2, generator=generator) * (pixels - extent + 1)).long()
    return torch.cat([start, start + extent], dim=1)


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Mark the pixels in rectangles (N, 4) of top, left, bottom and right, the last two excluded: bool (N, H, W)."""
    rows = torch.arange(size[0], device=boxes.device)
    columns = torch.arange(size[1], device=boxes.device)
    vertical = (rows >= boxes[:, :1]) & (rows < boxes[:, 2:3])
    horizontal = (columns >= boxes[:, 1:2]) & (columns < boxes[:, 3:])
    return vertical[:, :, None] & horizontal[:, None, :]
