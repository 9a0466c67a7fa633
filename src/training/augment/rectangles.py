"""Random rectangles within images, for operators that crop, erase or paste one."""

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
    """Draw height and width of rectangles, float32 (N, 2), as shares of the image's sides.

    The area is uniform, the aspect (height over width, relative to the image's own) log-uniform within the bounds. The
    first of `TRIES` draws is taken whose sides are at most `most` (2,); if there is none, both sides are `otherwise`.
    As torchvision's RandomResizedCrop and RandomErasing, before they round to pixels.
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
    """Draw positions of rectangles of given sides, shares (N, 2) of the image's: top, left, bottom, right (N, 4)."""
    pixels = torch.tensor(size)
    extent = (shares * pixels).round().long()
    start = (torch.rand(len(shares), 2, generator=generator) * (pixels - extent + 1)).long()
    return torch.cat([start, start + extent], dim=1)


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which pixels lie in rectangles (N, 4) of top, left, bottom, right, the last two excluded: (N, H, W)."""
    rows = torch.arange(size[0], device=boxes.device)
    columns = torch.arange(size[1], device=boxes.device)
    vertical = (rows >= boxes[:, :1]) & (rows < boxes[:, 2:3])
    horizontal = (columns >= boxes[:, 1:2]) & (columns < boxes[:, 3:])
    return vertical[:, :, None] & horizontal[:, None, :]
