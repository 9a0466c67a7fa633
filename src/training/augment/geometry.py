"""Geometry: where each pixel of an augmented image comes from. Flips and shifts copy pixels, all else interpolates.

Positions are measured from the centre, in half heights and half widths, so that the image is [-1, 1]², as in
`grid_sample`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from src import params
from src.training.augment import rectangles

ASPECTS = (3 / 4, 4 / 3)  # of a random resized crop, as torchvision


def interpolates(augment: params.Augment) -> bool:
    """Tell if any operator needs positions between pixels."""
    asked = (augment.rotate, augment.translate, augment.scale, augment.shear, augment.perspective)
    return any(asked) or augment.resized_crop is not None or augment.policy is not None


def matrices(
    augment: params.Augment, angle: Tensor, scale: Tensor, size: tuple[int, int], generator: Generator
) -> Tensor:
    """Draw projective maps, float32 (N, 3, 3), from a position in the augmented image to the one it comes from.

    angle: (N,) radians, counter-clockwise; scale: (N,) magnification. Shear comes first, then magnification, rotation
    and translation, then perspective. All numbers are drawn, needed or not, so that switching one operator on leaves
    the draws of the others as they are.
    """
    count = len(angle)
    uniform = torch.rand(3, count, generator=generator) * 2 - 1
    # A position in half sides: a shift by the whole height is 2 of them.
    shift = 2 * augment.translate * uniform[:2]
    corners = augment.perspective * torch.rand(count, 4, 2, generator=generator)

    matrix = affine(angle, scale, uniform[2] * math.radians(augment.shear), shift[0], shift[1], size)
    return matrix @ perspective(corners) if augment.perspective else matrix


def affine(angle: Tensor, scale: Tensor, shear: Tensor, down: Tensor, right: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the inverse of translation · rotation · magnification · shear along the rows, (N, 3, 3) of (N,) each.

    Angles in radians, shifts in half sides; torchvision's `affine` with the sign of its angle reversed.
    """
    height, width = size
    cos, sin, tan = angle.cos(), angle.sin(), shear.tan()
    xx, xy = (cos + sin * tan) / scale, (cos * tan - sin) / scale * height / width
    yx, yy = sin / scale * width / height, cos / scale
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = [xx, xy, -(xx * right + xy * down), yx, yy, -(yx * right + yy * down), zero, zero, one]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def perspective(corners: Tensor) -> Tensor:
    """Return maps (N, 3, 3) that show the whole image within a quadrilateral.

    corners: (N, 4, 2), how far the corners move inwards horizontally and vertically, in half sides; top left first,
    then clockwise. The map from the unit square to a quadrilateral: Heckbert, Fundamentals of Texture Mapping and Image
    Warping, 1989, section 2.2.3; its inverse is the adjugate, since a common factor cancels.
    """
    inwards = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
    first, second, third, fourth = (inwards * (corners - 1)).unbind(dim=1)
    bend = first - second + third - fourth
    beside, below = second - third, fourth - third
    determinant = beside[:, 0] * below[:, 1] - beside[:, 1] * below[:, 0]
    g = (bend[:, 0] * below[:, 1] - bend[:, 1] * below[:, 0]) / determinant
    h = (beside[:, 0] * bend[:, 1] - beside[:, 1] * bend[:, 0]) / determinant

    u = torch.column_stack([second - first + g[:, None] * second, g])
    v = torch.column_stack([fourth - first + h[:, None] * fourth, h])
    w = torch.column_stack([first, torch.ones_like(g)])
    adjugate = torch.stack([torch.linalg.cross(v, w), torch.linalg.cross(w, u), torch.linalg.cross(u, v)], dim=1)
    return torch.tensor([[2.0, 0, -1], [0, 2, -1], [0, 0, 1]]) @ adjugate


def windows(area: tuple[float, float], count: int, generator: Generator) -> Tensor:
    """Draw the windows of a resized crop, float32 (N, 2, 2): x and y of the centre, width and height.

    Sides are shares of the image's sides. area: least and greatest share of the image's area. The centre is uniform
    over all positions at which the window lies within the image. For square images this is torchvision's
    RandomResizedCrop without its rounding to pixels; for others the aspect is relative to the image's own, so that
    nothing is stretched by more than a third.
    """
    sides = rectangles.sides(count, area, ASPECTS, torch.ones(2), 1.0, generator)
    centre = (1 - sides) * (torch.rand(count, 2, generator=generator) * 2 - 1)
    return torch.stack([centre, sides], dim=1).flip(2)


def most_shift(augment: params.Augment, size: tuple[int, int]) -> int:
    """Return by how many pixels `augment.crop` shifts an image of this height and width at most."""
    return round(augment.crop * min(size))


def flip_and_shift(images: Tensor, flip: Tensor, shift: Tensor, padding: int, pad: str = "zeros") -> Tensor:
    """Flip and shift uint8 images (N, H, W, C) by copying pixels of the padded batch.

    flip: bool (N, 2), up–down and left–right; shift: int64 (N, 2), pixels down and right, at most `padding`. pad: what
    comes in from outside: zeros, or the image mirrored at its outermost pixels (reflect).
    """
    count, height, width, channels = images.shape
    device = images.device
    rows = torch.arange(height, device=device) - shift[:, :1]
    columns = torch.arange(width, device=device) - shift[:, 1:]
    if pad == "reflect":
        rows, columns, padding = _reflected(rows, height), _reflected(columns, width), 0
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    rows = torch.where(flip[:, :1], height - 1 - rows, rows) + padding
    columns = torch.where(flip[:, 1:], width - 1 - columns, columns) + padding
    # One index for a whole pixel of the padded batch: 3 times as fast on a CPU as an index for each dimension.
    rows += torch.arange(count, device=device)[:, None] * padded.shape[1]
    source = rows[:, :, None] * padded.shape[2] + columns[:, None, :]
    return padded.reshape(-1, channels).index_select(0, source.flatten()).view_as(images)


def _reflected(positions: Tensor, pixels: int) -> Tensor:
    """Mirror positions outside a line of so many pixels, by less than its length, back into the line."""
    last = pixels - 1
    return last - (last - positions.abs()).abs()


def warp(augment: params.Augment, pixels: Tensor, matrix: Tensor, window: Tensor | None) -> Tensor:
    """Apply a resized crop to `window` (N, 2, 2), then a map (N, 3, 3): float32 (N, C, H, W) → the same, bilinear.

    What comes in from outside the image or the window is 0: for what follows the crop, the window is the image, as in a
    chain of torchvision's operators, which interpolates twice where this interpolates once.
    """
    size = (pixels.shape[2], pixels.shape[3])
    grid = _positions(matrix[:, :2], size)
    if augment.perspective:
        grid = grid / _positions(matrix[:, 2:], size)
    if window is None:
        return F.grid_sample(pixels, grid, align_corners=False)
    centre, sides = window[:, None, None].unbind(dim=3)
    warped = F.grid_sample(pixels, grid * sides + centre, padding_mode="border", align_corners=False)
    return warped * (_cover(grid[..., 0], size[1]) * _cover(grid[..., 1], size[0]))[:, None]


def _cover(position: Tensor, pixels: int) -> Tensor:
    """Return which share of a bilinear sample lies within a line of so many pixels.

    It is 1 up to the centre of the outermost pixel, and falls to 0 within the next pixel.
    """
    return ((1 - position.abs()) * (pixels / 2) + 0.5).clamp_(0, 1)


def _positions(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """Apply the rows (N, R, 3) of a matrix to (x, y, 1) at the centre of every pixel: float32 (N, H, W, R).

    One product for all images: a tenth of the time of `affine_grid`, which computes one for each image.
    """
    height, width = size
    y = (2 * torch.arange(height, device=rows.device) + 1) / height - 1
    x = (2 * torch.arange(width, device=rows.device) + 1) / width - 1
    centres = torch.stack([x.repeat(height), y.repeat_interleave(width), torch.ones_like(x).repeat(height)])
    found = rows.reshape(-1, 3) @ centres
    return found.view(len(rows), -1, height, width).permute(0, 2, 3, 1)
