"""Geometric augmentation equals torchvision's operators, image by image, and stays within its bounds."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from augment_samples import drawn, photos, pixels, settings
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from src.training.augment import geometry

BILINEAR = v2.InterpolationMode.BILINEAR
Operator = Callable[[Tensor], Tensor]


@pytest.mark.parametrize(("fill", "theirs"), [("zeros", "constant"), ("reflect", "reflect")])
def test_flips_and_shift_equal_torchvisions(fill: str, theirs: str) -> None:
    """What comes in with a shift may be the mirrored image."""
    images = photos()
    flip = torch.tensor([[False, False], [False, True], [True, False], [True, True]])
    shift = torch.tensor([[0, 0], [2, -1], [1, -2], [-2, 2]])
    ours = geometry.flip_and_shift(images, flip, shift, 2, fill)
    assert ours.dtype == torch.uint8
    for number, (image, (down, right)) in enumerate(zip(images, shift.tolist(), strict=True)):
        turned = image.flip([axis for axis in (0, 1) if flip[number, axis]]).permute(2, 0, 1)
        padded = reference.pad(turned, [2, 2], padding_mode=theirs)
        expected = reference.crop(padded, 2 - down, 2 - right, *image.shape[:2])
        assert torch.equal(ours[number].permute(2, 0, 1), expected)


@pytest.mark.parametrize(
    ("share", "size", "pixels"),
    [(0.125, (32, 32), 4), (0.125, (64, 96), 8), (0.035, (28, 28), 1), (0.5, (9, 7), 4), (0.5, (1, 1), 0)],
)
def test_an_image_is_shifted_by_a_share_of_its_shorter_side(share: float, size: tuple[int, int], pixels: int) -> None:
    assert geometry.most_shift(settings(crop=share), size) == pixels


def affine(
    size: tuple[int, int], angle: float = 0, scale: float = 1, shear: float = 0, down: int = 0, right: int = 0
) -> tuple[Tensor, Operator]:
    """Return our map (1, 3, 3) and torchvision's operator, whose angle is clockwise, for degrees and pixels."""
    turn, sheared = torch.tensor([[angle], [shear]], dtype=torch.float32).deg2rad()
    moved = torch.tensor([[2 * down / size[0]], [2 * right / size[1]]])
    ours = geometry.affine(turn, torch.tensor([scale]), sheared, moved[0], moved[1], size)
    return ours, partial(
        reference.affine, angle=-angle, translate=[right, down], scale=scale, shear=[shear, 0.0], interpolation=BILINEAR
    )


def perspective(size: tuple[int, int], corners: Tensor) -> tuple[Tensor, Operator]:
    """Return the same for corners (4, 2) that move inwards."""
    height, width = size
    rim = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=float)
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    seen = rim + inwards * corners.double().numpy() * [width / 2, height / 2]
    theirs = partial(reference.perspective, startpoints=rim.tolist(), endpoints=seen.tolist(), interpolation=BILINEAR)
    return geometry.perspective(corners[None]), theirs


CORNERS = torch.rand(6, 4, 2, generator=torch.Generator().manual_seed(0)) * 0.6
FOLLOWING: dict[str, Callable[[tuple[int, int]], tuple[Tensor, Operator]]] = {
    "nothing": affine,
    "rotation": partial(affine, angle=30),
    "magnification": partial(affine, angle=-75, scale=0.8),
    "shear": partial(affine, shear=-35, scale=0.9),
    "translation": partial(affine, down=1, right=-2),
    "all affine": partial(affine, angle=10, scale=1.3, shear=20, down=-2, right=1),
    **{f"perspective {number}": partial(perspective, corners=corners) for number, corners in enumerate(CORNERS)},
}


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (8, 20)])
@pytest.mark.parametrize("name", FOLLOWING)
def test_a_map_equals_torchvisions(name: str, size: tuple[int, int]) -> None:
    image = pixels(photos(1, *size))
    matrix, operator = FOLLOWING[name](size)
    ours = geometry.warp(settings(perspective=0.6), image, matrix, None)
    torch.testing.assert_close(ours, operator(image), atol=0.05, rtol=0)


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_drawn_crop_and_what_follows_equal_torchvisions_chain(name: str) -> None:
    """A white channel shows where the window ends; slopes, which interpolation keeps, show which pixel came where."""
    height, width = size = (40, 100)
    down, right = torch.linspace(0, 255, height)[:, None], torch.linspace(0, 255, width)
    image = torch.stack([torch.full(size, 255.0), down.expand(-1, width), right.expand(height, -1)])
    matrix, operator = FOLLOWING[name](size)
    sides = torch.tensor([width, height])
    for centre, shares in geometry.windows((0.2, 0.9), 20, torch.Generator().manual_seed(0)):
        extent = (shares * sides).round()  # torchvision knows whole pixels alone
        start = ((centre + 1) / 2 * sides - extent / 2).round()
        window = torch.stack([(2 * start + extent) / sides - 1, extent / sides])[None]
        ours = geometry.warp(settings(resized_crop=[0.2, 0.9], perspective=0.6), image[None], matrix, window)[0]

        (left, top), (wide, high) = start.int().tolist(), extent.int().tolist()
        expected = operator(reference.resized_crop(image, top, left, high, wide, [height, width], BILINEAR))
        torch.testing.assert_close(ours[0], expected[0], atol=0.5, rtol=0)
        difference = (ours - expected).abs()
        assert difference.max() < 4  # at the window's rim, beside which ours see the image
        assert difference.mean() < 0.2


def test_a_map_of_several_operators_is_their_product() -> None:
    """An operator draws the same alone and with others, so the product is known."""
    images = photos(50, 9, 7)
    affine, perspective = drawn(settings(rotate=30), images).matrix, drawn(settings(perspective=0.5), images).matrix
    together = drawn(settings(rotate=30, perspective=0.5, resized_crop=[0.2, 0.8]), images).matrix
    assert affine is not None
    assert perspective is not None
    assert together is not None
    torch.testing.assert_close(together, affine @ perspective)
