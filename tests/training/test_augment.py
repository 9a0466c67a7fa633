"""Augmentation of whole batches: images do not depend on each other; erasing, mixing, and the preview."""

import numpy as np
import pytest
import torch
from augment_samples import ALONE, drawn, photos, settings
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from src.training import augment


def test_nothing_asked_for_changes_nothing() -> None:
    images = photos()
    result, mix = augment.apply(settings(), images, drawn(settings(), images))
    assert result is images
    assert mix is None


@pytest.mark.parametrize("batch_size", [1, 16, 64])
def test_the_result_does_not_depend_on_the_batch(batch_size: int) -> None:
    section = settings(**ALONE)
    images = photos(100, 12, 10)
    draws = drawn(section, images)
    whole, _ = augment.apply(section, images, draws)
    pairs = zip(torch.split(images, batch_size), draws.split(batch_size), strict=True)
    parts = [augment.apply(section, part, part_draws)[0] for part, part_draws in pairs]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-3, rtol=0)


@pytest.mark.parametrize("key", ALONE)
def test_every_operator_draws_for_every_image_alone(key: str) -> None:
    """Equal images become different ones, with values in 0…255."""
    section = settings(**{key: ALONE[key]})
    images = photos(1, 16, 12).expand(64, -1, -1, -1)
    result, mix = augment.apply(section, images, drawn(section, images))
    assert result.shape == images.shape
    assert mix is None
    assert len({image.numpy().tobytes() for image in result}) > 1
    assert result.min() >= 0
    assert result.max() <= 255.001
    assert result.dtype == torch.uint8 or key not in ("flip", "flip_vertical", "crop", "erase")


def test_erasing_equals_torchvisions() -> None:
    section, images = settings(erase=0.7), photos(20, 9, 7)
    draws = drawn(section, images)
    result, _ = augment.apply(section, images, draws)
    assert draws.erased is not None
    for number, (top, left, bottom, right) in enumerate(draws.erased.tolist()):
        image = images[number].permute(2, 0, 1)
        expected = reference.erase(image, top, left, bottom - top, right - left, torch.zeros(1, dtype=torch.uint8))
        assert torch.equal(result[number].permute(2, 0, 1), expected)


def test_mixup_equals_torchvisions() -> None:
    section, images = settings(mixup=0.8), photos(16, 8, 8)
    draws = drawn(section, images)
    result, mix = augment.apply(section, images, draws)
    assert mix is not None
    assert mix.weight is draws.weight
    labels = torch.arange(16)
    operator = v2.MixUp(num_classes=16)
    for number, weight in enumerate(mix.weight.tolist()):
        theirs = {"labels": labels, "batch_size": 16, "lam": weight}
        expected = operator.transform(images.permute(0, 3, 1, 2).float(), theirs)[number].permute(1, 2, 0)
        torch.testing.assert_close(result[number], expected, atol=1e-3, rtol=1e-5)
        target = weight * torch.eye(16)[number] + (1 - weight) * torch.eye(16)[mix.partner[number]]
        torch.testing.assert_close(target, operator.transform(labels, theirs)[number])


def test_cutmix_equals_torchvisions() -> None:
    section, images = settings(cutmix=1.0), photos(16, 9, 7)
    draws = drawn(section, images)
    result, mix = augment.apply(section, images, draws)
    assert mix is not None
    assert draws.pasted is not None
    assert result.dtype == torch.uint8
    operator = v2.CutMix(num_classes=16)
    for number, (top, left, bottom, right) in enumerate(draws.pasted.tolist()):
        theirs = {"labels": None, "batch_size": 16, "box": (left, top, right, bottom)}
        expected = operator.transform(images.permute(0, 3, 1, 2), theirs)[number]
        assert torch.equal(result[number].permute(2, 0, 1), expected)
        assert mix.weight[number].item() == pytest.approx(1 - (bottom - top) * (right - left) / 63)


def test_the_preview_shows_the_original_and_different_draws() -> None:
    image = photos(1, 12, 10)[0].numpy()
    section = settings(**ALONE, mixup=1.0, cutmix=1.0)
    shown = augment.preview(section, image, 24, seed=3)
    assert shown.dtype == np.uint8
    assert shown.shape == (24, 12, 10, 3)
    assert np.array_equal(shown[0], image)
    assert len({draw.tobytes() for draw in shown}) == 24
    assert np.array_equal(shown, augment.preview(section, image, 24, seed=3))
    assert not np.array_equal(shown[1:], augment.preview(section, image, 24, seed=4)[1:])


def test_alternating_flips_show_every_image_both_ways_in_two_epochs() -> None:
    order = torch.randperm(1000)
    first, second, third = (augment.alternating(order, 1000, seed=3, epoch=epoch) for epoch in (1, 2, 3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 400 < first.sum() < 600
    again = torch.arange(1000)
    assert torch.equal(augment.alternating(again, 1000, seed=3, epoch=1)[order], first)  # the image's, not the place's
    draws = augment.draw(settings(flip="alternate"), 1000, (8, 8), torch.Generator().manual_seed(0), first)
    assert torch.equal(draws.flip[:, 1], first)
