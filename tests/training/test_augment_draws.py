"""What chance decides, on images that are not square: it is distributed as torchvision draws it."""

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from augment_samples import drawn, settings
from scipy.stats import ks_2samp, kstest
from torch import Tensor
from torchvision.transforms import v2

from src.training.augment import AugmentParams

HEIGHT, WIDTH = 4, 10
BILINEAR = v2.InterpolationMode.BILINEAR
COUNT = 2000  # of this many, distributions that differ by 6 % of all draws anywhere are told apart
CHANCE = 0.001  # with the seeds fixed: the tests' own, not one in so many runs


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # for torchvision's many calls with one small image each


def white(count: int, height: int, width: int) -> Tensor:
    return torch.full((count, height, width, 3), 255, dtype=torch.uint8)


class Case(NamedTuple):
    """The same quantities of both operators, of images of one size unless another is needed for theirs."""

    ask: dict[str, Any]
    ours: Callable[[AugmentParams], Tensor]  # (N, quantities)
    operator: v2.Transform
    theirs: Callable[[dict[str, Any]], tuple[float, ...]]
    size: tuple[int, int] = (HEIGHT, WIDTH)


def window(draws: AugmentParams) -> Tensor:
    """Area, aspect, left and bottom, as shares of the image."""
    assert draws.window is not None
    centre, sides = draws.window.unbind(dim=1)
    rim = (1 + centre - sides) / 2, (1 + centre + sides) / 2
    assert min(rim[0].min(), 1 - rim[1].max()) > -1e-6, "a window leads out of the image"
    return torch.column_stack([sides.prod(dim=1), sides[:, 0] / sides[:, 1], rim[0][:, 0], rim[1][:, 1]])


def moves(draws: AugmentParams) -> Tensor:
    """Translation to the right and down in whole pixels, as torchvision rounds them."""
    assert draws.matrix is not None
    return (-draws.matrix[:, :2, 2] * torch.tensor([WIDTH, HEIGHT]) / 2).round()


def angle(draws: AugmentParams) -> Tensor:
    assert draws.matrix is not None
    return torch.atan2(draws.matrix[:, 1, 0] * HEIGHT / WIDTH, draws.matrix[:, 1, 1]).rad2deg()[:, None]


def magnification(draws: AugmentParams) -> Tensor:
    assert draws.matrix is not None
    return 1 / draws.matrix[:, :1, 0]


def shear(draws: AugmentParams) -> Tensor:
    assert draws.matrix is not None
    return (draws.matrix[:, :1, 1] * WIDTH / HEIGHT).atan().rad2deg()


def inwards(draws: AugmentParams) -> Tensor:
    """How far the corners move to the right and down, as shares of half the image."""
    assert draws.matrix is not None
    rim = torch.tensor([[-1.0, 1, 1, -1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    seen = torch.linalg.solve(draws.matrix, rim)
    moved: Tensor = (seen / seen[:, 2:] - rim)[:, :2]
    return moved.flatten(1)


def inwards_of_torchvision(parameters: dict[str, Any]) -> tuple[float, ...]:
    """The same; it draws whole pixels, so the image is large."""
    height, width = LARGE
    rim = np.array([[0, width - 1, width - 1, 0], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    seen = np.linalg.solve(np.array([*parameters["coefficients"], 1]).reshape(3, 3), rim)
    return tuple(((seen / seen[2] - rim)[:2] / [[width / 2], [height / 2]]).flatten())


def erased(draws: AugmentParams) -> Tensor:
    """Top, left, height and width."""
    assert draws.erased is not None
    return torch.column_stack([draws.erased[:, :2], draws.erased[:, 2:] - draws.erased[:, :2]])


def column(name: str) -> Callable[[AugmentParams], Tensor]:
    return attrgetter(name)


# A window is between pixels and its aspect relative to the image's: so are torchvision's in a large square.
LARGE, SIDE = (400, 1000), 2000
COLOURS = {"brightness": 0.3, "contrast": 0.6, "saturation": 1.5, "hue": 0.2}
CASES = {
    "crop": Case(
        {"crop": 0.5}, column("shift"), v2.RandomCrop((HEIGHT, WIDTH), 2), lambda box: (2 - box["top"], 2 - box["left"])
    ),
    "resized_crop": Case(
        {"resized_crop": [0.08, 1.0]},
        window,
        v2.RandomResizedCrop(SIDE, scale=(0.08, 1.0)),
        lambda box: (
            box["height"] * box["width"] / SIDE**2,
            box["width"] / box["height"],
            box["left"] / SIDE,
            (box["top"] + box["height"]) / SIDE,
        ),
        (SIDE, SIDE),
    ),
    "rotate": Case({"rotate": 25}, angle, v2.RandomRotation(25), lambda parameters: (parameters["angle"],)),
    "translate": Case(
        {"translate": 0.4}, moves, v2.RandomAffine(0, (0.4, 0.4)), lambda parameters: parameters["translate"]
    ),
    "scale": Case(
        {"scale": 0.3}, magnification, v2.RandomAffine(0, scale=(0.7, 1.3)), lambda parameters: (parameters["scale"],)
    ),
    "shear": Case({"shear": 30}, shear, v2.RandomAffine(0, shear=30), lambda parameters: parameters["shear"][:1]),
    "perspective": Case({"perspective": 0.4}, inwards, v2.RandomPerspective(0.4, 1.0), inwards_of_torchvision, LARGE),
    "erase": Case(
        {"erase": 1.0},
        erased,
        v2.RandomErasing(p=1.0),
        lambda box: (0, 0, 0, 0) if box["v"] is None else (box["i"], box["j"], box["h"], box["w"]),
    ),
    "colours": Case(
        COLOURS,
        lambda draws: column("colour")(draws)[:, :4],
        v2.ColorJitter(*COLOURS.values()),
        lambda parameters: tuple(parameters[f"{name}_factor"] for name in COLOURS),
    ),
    "mixup 0.2": Case(
        {"mixup": 0.2}, column("weight"), v2.MixUp(alpha=0.2, num_classes=2), lambda parameters: (parameters["lam"],)
    ),
    "mixup 4": Case(
        {"mixup": 4.0}, column("weight"), v2.MixUp(alpha=4.0, num_classes=2), lambda parameters: (parameters["lam"],)
    ),
    "cutmix": Case(
        {"cutmix": 1.0},
        lambda draws: torch.column_stack([column("weight")(draws), column("pasted")(draws)[:, [1, 0, 3, 2]]]),
        v2.CutMix(num_classes=2),
        lambda parameters: (parameters["lam_adjusted"], *parameters["box"]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_drawn_is_distributed_as_by_torchvision(name: str) -> None:
    case = CASES[name]
    ours = case.ours(drawn(settings(**case.ask), white(COUNT, HEIGHT, WIDTH))).double().view(COUNT, -1)
    torch.manual_seed(1)
    image = [torch.empty(2, 3, *case.size)]
    theirs = np.array([case.theirs(case.operator.make_params(image)) for _ in range(COUNT)])
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
    ask: dict[str, Any], happens: Callable[[AugmentParams], Tensor], share: float
) -> None:
    hit = happens(drawn(settings(**ask), white(10000, 32, 80))).float().mean().item()
    assert hit == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 10000))


def test_levels_of_noise_are_uniform_up_to_what_is_asked_for() -> None:
    """In pixel values, and as a share of the pixels."""
    levels = drawn(settings(noise=0.2, salt_pepper=0.4), white(COUNT, HEIGHT, WIDTH)).levels
    assert levels is not None
    for level, most in zip(levels.unbind(dim=1), (0.2 * 255, 0.4), strict=True):
        assert kstest(level / most, "uniform").pvalue > CHANCE
