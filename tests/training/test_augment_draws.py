"""Draws have the distribution that torchvision documents, or that of its own draws, for images that are not square."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from augment_samples import drawn, settings
from scipy.stats import beta, ks_2samp, kstest, uniform
from torch import Tensor
from torchvision.transforms import v2

HEIGHT, WIDTH = 4, 10
COUNT = 2000  # draws, enough to tell apart distribution functions that differ by 0.06 anywhere
CHANCE = 0.001  # the least p-value; seeds are fixed, so that a test fails always or never


def white(count: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.full((count, height, width, 3), 255, dtype=torch.uint8)


def inwards(draws: Any) -> Tensor:
    """Return how far the corners move inwards, in half sides of the image (N, 8)."""
    rim = torch.tensor([[-1.0, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    seen = torch.linalg.solve(draws.matrix, rim)
    moved: Tensor = (seen / seen[:, 2:] - rim)[:, :2]
    return -(moved * rim[:2]).flatten(1)


def angle(draws: Any) -> Tensor:
    return torch.atan2(draws.matrix[:, 1, 0] * HEIGHT / WIDTH, draws.matrix[:, 1, 1]).rad2deg()


KNOWN: dict[str, tuple[dict[str, Any], Callable[[Any], Tensor], Any]] = {
    "rotate": ({"rotate": 25}, angle, uniform(-25, 50)),
    "scale": ({"scale": 0.3}, lambda draws: 1 / draws.matrix[:, 0, 0], uniform(0.7, 0.6)),
    "shear": ({"shear": 30}, lambda draws: (draws.matrix[:, 0, 1] * WIDTH / HEIGHT).atan().rad2deg(), uniform(-30, 60)),
    "translate": ({"translate": 0.4}, lambda draws: draws.matrix[:, :2, 2] / 2, uniform(-0.4, 0.8)),
    "perspective": ({"perspective": 0.4}, inwards, uniform(0, 0.4)),
    "brightness": ({"brightness": 0.3}, lambda draws: draws.colour[:, 0], uniform(0.7, 0.6)),
    "contrast": ({"contrast": 0.6}, lambda draws: draws.colour[:, 1], uniform(0.4, 1.2)),
    "saturation": ({"saturation": 1.5}, lambda draws: draws.colour[:, 2], uniform(0, 2.5)),
    "hue": ({"hue": 0.2}, lambda draws: draws.colour[:, 3], uniform(-0.2, 0.4)),
    "noise": ({"noise": 0.2}, lambda draws: draws.levels[:, 0] / 255, uniform(0, 0.2)),
    "salt_pepper": ({"salt_pepper": 0.4}, lambda draws: draws.levels[:, 1], uniform(0, 0.4)),
    "mixup 0.2": ({"mixup": 0.2}, lambda draws: draws.weight, beta(0.2, 0.2)),
    "mixup 4": ({"mixup": 4.0}, lambda draws: draws.weight, beta(4, 4)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_drawn_has_the_known_distribution(name: str) -> None:
    ask, quantity, expected = KNOWN[name]
    values = quantity(drawn(settings(**ask), white(COUNT))).double().view(COUNT, -1)
    assert np.min(kstest(values, expected.cdf).pvalue) > CHANCE


def window(draws: Any) -> Tensor:
    """Return area, aspect, left and bottom, as shares of the image."""
    centre, sides = draws.window.unbind(dim=1)
    rim = (1 + centre - sides) / 2, (1 + centre + sides) / 2
    assert min(rim[0].min(), 1 - rim[1].max()) > -1e-6, "a window leads out of the image"
    return torch.column_stack([sides.prod(dim=1), sides[:, 0] / sides[:, 1], rim[0][:, 0], rim[1][:, 1]])


def erased(draws: Any) -> Tensor:
    """Return top, left, height and width."""
    return torch.column_stack([draws.erased[:, :2], draws.erased[:, 2:] - draws.erased[:, :2]])


def pasted(draws: Any) -> Tensor:
    return torch.column_stack([draws.weight, draws.pasted[:, [1, 0, 3, 2]]])


# A window is between pixels and its aspect relative to the image's: so are torchvision's in a large square.
SIDE = 2000
TORCHVISIONS: dict[str, tuple[Any, ...]] = {
    "crop": (
        {"crop": 0.5}, lambda draws: draws.shift, v2.RandomCrop((HEIGHT, WIDTH), 2),
        lambda box: (2 - box["top"], 2 - box["left"]), HEIGHT, WIDTH,
    ),
    "resized_crop": (
        {"resized_crop": [0.08, 1.0]}, window, v2.RandomResizedCrop(SIDE, scale=(0.08, 1.0)),
        lambda box: (
            box["height"] * box["width"] / SIDE**2, box["width"] / box["height"], box["left"] / SIDE,
            (box["top"] + box["height"]) / SIDE,
        ),
        SIDE, SIDE,
    ),
    "erase": (
        {"erase": 1.0}, erased, v2.RandomErasing(p=1.0),
        lambda box: (0, 0, 0, 0) if box["v"] is None else (box["i"], box["j"], box["h"], box["w"]),
        HEIGHT, WIDTH,
    ),
    "cutmix": (
        {"cutmix": 1.0}, pasted, v2.CutMix(num_classes=2), lambda given: (given["lam_adjusted"], *given["box"]),
        HEIGHT, WIDTH,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_what_is_drawn_is_distributed_as_by_torchvision(name: str) -> None:
    ask, quantities, operator, parameters, height, width = TORCHVISIONS[name]
    ours = quantities(drawn(settings(**ask), white(COUNT))).double()
    torch.manual_seed(1)
    image = [torch.empty(2, 3, height, width)]
    theirs = np.array([parameters(operator.make_params(image)) for _ in range(COUNT)])
    assert ours.shape == theirs.shape
    # Rounded, since equal shares of few pixels come out of float32 and of float64.
    assert ks_2samp(ours.round(decimals=6), theirs.round(6)).pvalue.min() > CHANCE


@pytest.mark.parametrize(
    ("ask", "happens", "share"),
    [
        ({"flip": True}, lambda draws: draws.flip[:, 1], 0.5),
        ({"flip_vertical": True}, lambda draws: draws.flip[:, 0], 0.5),
        ({"flip": True, "flip_vertical": True}, lambda draws: draws.flip.all(dim=1), 0.25),
        ({"grey": 0.2}, lambda draws: draws.colour[:, 4], 0.2),
        ({"erase": 0.6}, lambda draws: draws.erased.any(dim=1), 0.6),
        ({"mixup": 1.0, "cutmix": 1.0}, lambda draws: draws.pasted.any(dim=1), 0.5),
    ],
)
def test_an_operator_hits_the_share_of_the_images(
    ask: dict[str, Any], happens: Callable[[Any], Tensor], share: float
) -> None:
    hit = happens(drawn(settings(**ask), white(10000, 32, 80))).float().mean().item()
    assert hit == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 10000))
