"""TrivialAugment and RandAugment: each operator equals torchvision's, and what is drawn is what the papers draw."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from augment_samples import drawn, photos, pixels, settings
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from src.training.augment import geometry, policy
from src.training.augment.policy import LEVELS, MOST, OPERATORS, SIGNED

TRIVIAL, RAND = "trivial", {"name": "rand", "operations": 2, "magnitude": 0.3}


def affine(**changes: Any) -> Callable[[Tensor, float], Tensor]:
    """Return torchvision's operator on float pixels, bilinear as ours. changes: functions of the strength."""

    def operator(image: Tensor, strength: float) -> Tensor:
        asked = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
        asked |= {key: change(strength, image.shape[-2:]) for key, change in changes.items()}
        moved: Tensor = reference.affine(image.float(), **asked, interpolation=v2.InterpolationMode.BILINEAR)
        return moved

    return operator


THEIRS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda image, _: image,
    "shear_x": affine(shear=lambda tangent, _: [math.degrees(math.atan(tangent)), 0.0]),
    "shear_y": affine(shear=lambda tangent, _: [0.0, math.degrees(math.atan(tangent))]),
    "translate_x": affine(translate=lambda share, size: [round(share * size[1]), 0]),
    "translate_y": affine(translate=lambda share, size: [0, round(share * size[0])]),
    "rotate": affine(angle=lambda radians, _: -math.degrees(radians)),
    "brightness": lambda image, change: reference.adjust_brightness(image, 1 + change),
    "saturation": lambda image, change: reference.adjust_saturation(image / 255, 1 + change) * 255,
    "contrast": lambda image, change: reference.adjust_contrast(image / 255, 1 + change) * 255,
    "sharpness": lambda image, change: reference.adjust_sharpness(image, 1 + change),
    "posterize": lambda image, bits: reference.posterize(image, 8 - round(bits)),
    "solarize": lambda image, values: reference.solarize(image, 255 - values),
    "autocontrast": lambda image, _: reference.autocontrast(image),
    "equalize": lambda image, _: reference.equalize(image),
}


def strengths(name: str) -> list[float]:
    """Return some strengths, from none to the greatest, with both signs; translations by whole pixels of 20 and 40."""
    most = MOST["trivial"][OPERATORS.index(name)]
    shares = (0.0, 0.05, 0.25, 0.4) if "translate" in name else tuple(most * share for share in (0, 0.1, 0.5, 1))
    return [*shares, *(-share for share in shares if OPERATORS.index(name) < SIGNED)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_equals_torchvisions(name: str, channels: int) -> None:
    """Within 1 of 255 pixel values: ours are rounded, torchvision's are rounded down."""
    images = photos(4, 20, 40, channels)
    images[1] = images[1] // 4 + 90  # a narrow range, to be stretched
    images[2] = 77  # of one value, which has no range
    for strength in strengths(name):
        chosen = torch.tensor([[OPERATORS.index(name), strength]]).expand(4, 2)
        moved = geometry.warp(settings(policy=TRIVIAL), pixels(images), policy.matrices(chosen, (20, 40)), None)
        ours = policy.adjust(moved, chosen)
        theirs = torch.stack([THEIRS[name](image, strength) for image in images.permute(0, 3, 1, 2)]).float()
        torch.testing.assert_close(ours, theirs, atol=1.01, rtol=0, msg=lambda text: f"{strength}: {text}")  # noqa: B023


def test_trivial_draws_every_operator_and_every_level_alike() -> None:
    chosen = drawn(settings(policy=TRIVIAL), photos(1).expand(28_000, -1, -1, -1)).policy
    assert chosen is not None
    operators, strength = chosen[:, 0].unbind(1)
    assert operators.long().bincount(minlength=14).float().sub(2000).abs().max() < 200  # 4.6 standard deviations
    for number, most in enumerate(MOST["trivial"]):
        seen = strength[operators == number]
        levels = (seen * LEVELS / most).round() if most else seen
        assert len(set(levels.tolist())) == (1 if not most else 2 * LEVELS + 1 if number < SIGNED else LEVELS + 1)
        assert abs(seen).max() == pytest.approx(most)


def test_rand_draws_so_many_operators_of_one_magnitude() -> None:
    chosen = drawn(settings(policy=RAND | {"operations": 3}), photos(1).expand(1000, -1, -1, -1)).policy
    assert chosen is not None
    assert chosen.shape == (1000, 3, 2)
    most = torch.tensor(MOST["rand"])[chosen[..., 0].long()]
    torch.testing.assert_close(chosen[..., 1].abs(), 0.3 * most)
    assert (chosen[..., 1] < 0).any()


@pytest.mark.usefixtures("deterministic")
def test_pixels_are_not_counted_by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch does on CUDA where it must be deterministic."""
    modes, add = [], Tensor.scatter_add_

    def watched(counts: Tensor, *arguments: Any) -> Tensor:
        modes.append(torch.get_deterministic_debug_mode())
        return add(counts, *arguments)

    monkeypatch.setattr(Tensor, "scatter_add_", watched)
    policy.adjust(pixels(photos(1)), torch.zeros(1, 2))
    assert (modes, torch.get_deterministic_debug_mode()) == ([0], 2)
