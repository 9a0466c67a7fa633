"""Geometric augmentation equals torchvision's operators, image by image, and stays within its bounds."""

import math

import numpy as np
import pytest
import torch
from augment_samples import drawn, photos, pixels, settings
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from src.training import augment
from src.training.augment import geometry, rectangles

BILINEAR = v2.InterpolationMode.BILINEAR
SIZES = [(8, 8), (9, 7)]


def test_flips_and_shift_equal_torchvisions() -> None:
    images = photos()
    flip = torch.tensor([[False, False], [False, True], [True, False], [True, True]])
    shift = torch.tensor([[0, 0], [0, 0], [1, -2], [-1, 2]])
    ours = geometry.flip_and_shift(images, flip, shift, padding=2)
    assert ours.dtype == torch.uint8
    for number, image in enumerate(images):
        expected = image.permute(2, 0, 1)
        if flip[number, 0]:
            expected = reference.vertical_flip(expected)
        if flip[number, 1]:
            expected = reference.horizontal_flip(expected)
        down, right = shift[number].tolist()
        expected = reference.crop(expected, -down, -right, *image.shape[:2])
        assert torch.equal(ours[number].permute(2, 0, 1), expected)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_affine_maps_equal_torchvisions(height: int, width: int) -> None:
    images = pixels(photos(5, height, width))
    angles, scales, shears = [0.0, 30.0, -75.0, 10.0, 5.0], [1.0, 1.0, 0.8, 1.3, 0.9], [0.0, 0.0, 0.0, 20.0, -35.0]
    down, right = [0, 0, 0, 1, -2], [0, 0, 0, -2, 1]
    matrix = geometry.affine(
        torch.tensor(angles).deg2rad(),
        torch.tensor(scales),
        torch.tensor(shears).deg2rad(),
        torch.tensor(down) * 2 / height,
        torch.tensor(right) * 2 / width,
        (height, width),
    )
    ours = geometry.warp(settings(rotate=90), images, matrix)
    for number, image in enumerate(images):
        expected = reference.affine(
            image,
            angle=-angles[number],  # torchvision's affine turns clockwise
            translate=[right[number], down[number]],
            scale=scales[number],
            shear=[shears[number], 0.0],
            interpolation=BILINEAR,
        )
        torch.testing.assert_close(ours[number], expected, atol=0.05, rtol=0)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_perspective_equals_torchvisions(height: int, width: int) -> None:
    images = pixels(photos(6, height, width))
    corners = torch.rand(6, 4, 2, generator=torch.Generator().manual_seed(0)) * 0.6
    ours = geometry.warp(settings(perspective=0.6), images, geometry.perspective(corners))
    rim = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=float)
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    for number, image in enumerate(images):
        seen = rim + inwards * corners[number].double().numpy() * [width / 2, height / 2]
        expected = reference.perspective(image, rim.tolist(), seen.tolist(), interpolation=BILINEAR)
        torch.testing.assert_close(ours[number], expected, atol=0.05, rtol=0)


@given(st.lists(st.floats(0, 0.9), min_size=8, max_size=8))
def test_perspective_shows_the_corners_where_they_were_moved(values: list[float]) -> None:
    corners = torch.tensor(values).view(1, 4, 2)
    rim = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    seen = torch.column_stack([rim * (1 - corners[0]), torch.ones(4)])
    source = seen @ geometry.perspective(corners)[0].T
    torch.testing.assert_close(source[:, :2] / source[:, 2:], rim, atol=1e-3, rtol=0)


@pytest.mark.parametrize("box", [(2, 1, 4, 6), (0, 0, 5, 4), (3, 2, 5, 6), (0, 0, 8, 8)])
def test_a_resized_crop_equals_torchvisions(box: tuple[int, int, int, int]) -> None:
    """But for the outermost pixels: where the window is not at the image's rim, ours see what lies beside it."""
    top, left, height, width = box
    image = pixels(photos(1, 8, 8))
    window = torch.tensor([[height / 8, width / 8]])
    centre = torch.tensor([[(2 * left + width) / 8 - 1, (2 * top + height) / 8 - 1]])
    ours = geometry.warp(settings(resized_crop=[0.1, 1.0]), image, geometry.cropping(window, centre))
    expected = reference.resized_crop(image, *box, size=[8, 8], interpolation=BILINEAR, antialias=True)
    first = (0 if top == 0 else 1, 0 if left == 0 else 1)
    last = (8 if top + height == 8 else 7, 8 if left + width == 8 else 7)
    inner = (..., slice(first[0], last[0]), slice(first[1], last[1]))
    torch.testing.assert_close(ours[inner], expected[inner], atol=0.05, rtol=0)


def test_windows_are_drawn_as_torchvision_draws_them() -> None:
    sides = rectangles.sides(4000, (0.08, 1.0), geometry.ASPECTS, 1.0, torch.Generator().manual_seed(0))
    area, aspect = sides.prod(dim=1), sides[:, 0] / sides[:, 1]
    whole = (sides == 1).all(dim=1)
    assert (sides <= 1).all()
    assert area.min() >= 0.08
    assert (aspect[~whole] > 0.7499).all()
    assert (aspect[~whole] < 1.3334).all()
    operator = v2.RandomResizedCrop(1000, scale=(0.08, 1.0))
    torch.manual_seed(0)
    boxes = [operator.make_params([torch.empty(3, 1000, 1000)]) for _ in range(1000)]
    theirs = torch.tensor([box["height"] * box["width"] / 1e6 for box in boxes])
    assert area.mean().item() == pytest.approx(theirs.mean().item(), abs=0.03)
    assert area.std().item() == pytest.approx(theirs.std().item(), abs=0.02)


def test_a_window_that_cannot_fit_is_the_whole_image() -> None:
    section = settings(resized_crop=[1.0, 1.0])
    images = photos(20, 8, 8)
    ours, _ = augment.apply(section, images, drawn(section, images))
    torch.testing.assert_close(ours, images.float(), atol=1e-3, rtol=0)


def test_maps_stay_within_their_bounds_and_differ_between_images() -> None:
    images = photos(3000, 4, 8)
    section = settings(flip=True, flip_vertical=True, crop=2, rotate=15, scale=0.2, translate=0.25)
    draws = drawn(section, images)
    assert draws.flip.float().mean(dim=0).tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert draws.flip.all(dim=1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert sorted(set(draws.shift.flatten().tolist())) == [-2, -1, 0, 1, 2]
    assert draws.matrix is not None
    cos, sin = draws.matrix[:, 1, 1], draws.matrix[:, 1, 0] / 2  # magnification below; width over height is 2
    angle = torch.atan2(sin, cos).rad2deg()
    assert 14 < angle.abs().max() < 15.001
    scale = 1 / torch.hypot(sin, cos)
    assert 0.799 < scale.min() < 0.81
    assert 1.19 < scale.max() < 1.201
    shift = torch.linalg.solve(draws.matrix[:, :2, :2], -draws.matrix[:, :2, 2])
    assert shift.abs().max().item() == pytest.approx(0.5, abs=0.01)
    assert len(set(angle.tolist())) > 2900


def test_a_map_of_several_operators_is_their_product() -> None:
    """Each alone draws what it draws in company, so the product can be told."""
    images = photos(50, 9, 7)
    ask = {"rotate": 30, "resized_crop": [0.2, 0.8], "perspective": 0.5}
    crop, affine, perspective = (
        drawn(settings(**part), images).matrix
        for part in ({"resized_crop": [0.2, 0.8]}, {"rotate": 30}, {"perspective": 0.5})
    )
    together = drawn(settings(**ask), images).matrix
    assert crop is not None
    assert affine is not None
    assert perspective is not None
    assert together is not None
    torch.testing.assert_close(together, crop @ affine @ perspective)


def test_rotation_by_a_right_angle_turns_counter_clockwise() -> None:
    image = pixels(photos(1, 8, 8))
    nothing = torch.zeros(1)
    matrix = geometry.affine(torch.tensor([math.pi / 2]), torch.ones(1), nothing, nothing, nothing, (8, 8))
    ours = geometry.warp(settings(rotate=90), image, matrix)
    torch.testing.assert_close(ours, torch.rot90(image, dims=(2, 3)), atol=0.01, rtol=0)
