"""Colours equal torchvision's; noise is normal, independent, and as strong as was drawn."""

from functools import partial

import pytest
import torch
from augment_samples import drawn, photos, pixels, settings
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from src.training import augment
from src.training.augment import colour, noise

FACTORS = torch.tensor([0.0, 0.3, 1.0, 1.7])
TURNS = torch.tensor([-0.5, -0.13, 0.0, 0.3])
greyed = partial(reference.rgb_to_grayscale, num_output_channels=3)


def factors(**columns: Tensor) -> Tensor:
    """Return factors of four images that change nothing but what the named columns say."""
    names = ("brightness", "contrast", "saturation", "hue", "grey")
    still = colour.draw_factors(settings(), 4, torch.Generator())
    for name, values in columns.items():
        still[:, names.index(name)] = values
    return still


@pytest.mark.parametrize(
    ("name", "values", "channels"),
    [
        ("brightness", FACTORS, 3),
        ("brightness", FACTORS, 1),
        ("contrast", FACTORS, 3),
        ("contrast", FACTORS, 1),
        ("saturation", FACTORS, 3),
        ("hue", TURNS, 3),
        ("grey", torch.tensor([0.0, 1.0, 0.0, 1.0]), 3),
    ],
)
def test_colour_operators_equal_torchvisions(name: str, values: Tensor, channels: int) -> None:
    images = pixels(photos(4, channels=channels))
    images[0, :, 0, 0] = 77  # grey, where the hue is not defined
    images[1, :, 0, :2] = torch.tensor([0.0, 255.0])
    ours = colour.adjust(settings(**{name: 0.5}), images, factors(**{name: values}))
    operator = getattr(reference, f"adjust_{name}", lambda image, turned: greyed(image) if turned else image)
    for number, value in enumerate(values.tolist()):
        expected = operator(images[number] / 255, value) * 255
        torch.testing.assert_close(ours[number], expected, atol=0.01, rtol=0)


def test_operators_follow_each_other_in_a_fixed_order() -> None:
    images = pixels(photos())
    names = ("brightness", "contrast", "saturation", "hue")
    columns = {name: TURNS if name == "hue" else FACTORS for name in names}
    ours = colour.adjust(settings(**dict.fromkeys(names, 0.5)), images, factors(**columns))
    for number in range(4):
        expected = images[number] / 255
        for name in names:
            expected = getattr(reference, f"adjust_{name}")(expected, columns[name][number].item())
        torch.testing.assert_close(ours[number], expected * 255, atol=0.02, rtol=0)


def test_gaussian_noise_is_normal_and_independent() -> None:
    keys = noise.draw_keys(200, torch.Generator().manual_seed(0))
    values = noise.gaussian(keys, 3072).double()
    assert values.mean().item() == pytest.approx(0, abs=0.005)
    assert values.std().item() == pytest.approx(1, abs=0.005)
    for bound, share in ((1.0, 0.6827), (2.0, 0.9545), (3.0, 0.9973)):
        assert (values.abs() < bound).double().mean().item() == pytest.approx(share, abs=0.002)
    for along in (values, values.T):  # between images, between pixels: 5 standard errors
        correlation = torch.corrcoef(along[:200])
        assert correlation.fill_diagonal_(0).abs().max() < 5 / along.shape[1] ** 0.5
    assert (values[:, 1:] * values[:, :-1]).mean().abs() < 0.005


def test_salt_and_pepper_hit_whole_pixels_in_the_drawn_share() -> None:
    images = torch.full((50, 3, 32, 32), 100.0)
    levels = torch.tensor([[0.0, 0.2]]).expand(50, 2)
    keys = noise.draw_keys(50, torch.Generator().manual_seed(0))
    ours = noise.add(settings(salt_pepper=0.2), images, levels, keys)
    assert torch.equal(ours[:, 0], ours[:, 2])
    assert (ours == 0).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert (ours == 255).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert set(ours.flatten().tolist()) == {0.0, 100.0, 255.0}


def test_noise_has_the_drawn_strength_and_no_more_than_asked_for() -> None:
    section = settings(noise=0.1)
    images = torch.full((300, 16, 16, 3), 128, dtype=torch.uint8)
    draws = drawn(section, images)
    ours, _ = augment.apply(section, images, draws)
    assert draws.levels is not None
    assert 24 < draws.levels[:, 0].max() <= 25.5
    torch.testing.assert_close(ours.std(dim=(1, 2, 3)), draws.levels[:, 0], atol=0.5, rtol=0.12)
