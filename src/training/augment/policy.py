"""TrivialAugment and RandAugment: one or several of 14 operators, drawn for each image.

Müller & Hutter, 2021 (arXiv 2103.10158) and Cubuk et al., 2019 (arXiv 1909.13719). Operators and strengths are those of
torchvision's TrivialAugmentWide and RandAugment, except that an image is sheared about its centre and moved by a share
of its side (32 pixels there, which are all of CIFAR-10's), and that shear, translation and rotation join all other
geometry in its one interpolation, so that they come before colours.
"""

import math

import torch
from torch import Generator, Tensor

from src import params
from src.training.augment import geometry
from src.training.augment.colour import luminance

# An operator is stored as its position. Those before posterize have a sign; autocontrast and equalize no strength.
OPERATORS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation", "contrast",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
SIGNED = 10
# The greatest strength of each: tangent, share of the side, radians, change of the factor, number of bits removed,
# number of pixel values inverted. Translation: 150 of 331 pixels, as in AutoAugment.
MOST = {
    "trivial": (0, 0.99, 0.99, 150 / 331, 150 / 331, math.radians(135), 0.99, 0.99, 0.99, 0.99, 6, 255, 0, 0),
    "rand": (0, 0.3, 0.3, 150 / 331, 150 / 331, math.radians(30), 0.9, 0.9, 0.9, 0.9, 4, 255, 0, 0),
}
LEVELS = 30  # equal steps of strength, of which TrivialAugment draws 0 to 30


def draw(policy: params.Policy, count: int, generator: Generator) -> Tensor:
    """Draw L operators for each image, and their strengths in the units of `MOST`: float32 (N, L, 2)."""
    name = policy if isinstance(policy, str) else policy.name
    shape = (count, 1 if isinstance(policy, str) else policy.operations)
    operators = torch.randint(len(OPERATORS), shape, generator=generator)
    levels = torch.randint(LEVELS + 1, shape, generator=generator) / LEVELS
    share = levels if isinstance(policy, str) else torch.full(shape, policy.magnitude)
    sign = 1 - 2 * torch.randint(2, shape, generator=generator)
    strengths = torch.tensor(MOST[name])[operators] * share * sign.where(operators < SIGNED, 1)
    return torch.stack([operators.float(), strengths], dim=2)


def matrices(drawn: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (N, 3, 3), as `geometry.matrices` does, for an operator and its strength for each image (N, 2)."""
    operators, strengths = drawn.unbind(1)

    def of(name: str) -> Tensor:
        return strengths.where(operators == OPERATORS.index(name), 0.0)

    down, right = 2 * of("translate_y"), 2 * of("translate_x")  # in half sides
    scale = torch.ones_like(strengths)
    matrix = geometry.affine(of("rotate"), scale, of("shear_x").atan(), down, right, size)
    matrix[:, 1, 0] += of("shear_y") * size[1] / size[0]
    return matrix


def adjust(pixels: Tensor, drawn: Tensor) -> Tensor:
    """Adjust the colours of float32 pixels (N, C, H, W) in 0…255 by an operator and its strength for each image (N, 2).

    Every operator is computed for every image, since to choose the host would have to wait for the device. Brightness,
    saturation, contrast and sharpness are a blend with the image without that quality (black, grey, its mean, smooth),
    the others a table of 256 values.
    """
    operators, strengths = drawn[:, None, None].unbind(3)

    def are(name: str) -> Tensor:
        return operators == OPERATORS.index(name)

    grey = luminance(pixels)
    smooth = pixels.clone()  # by sums of 3×3 pixels, in half the time of pooling; the outermost pixels stay
    rows = (pixels[..., :-2, :] + pixels[..., 1:-1, :]).add_(pixels[..., 2:, :])
    around = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
    smooth[..., 1:-1, 1:-1].lerp_(around.div_(9), 9 / 13)
    without = grey.where(are("saturation")[..., None], 0.0)
    without = grey.mean(dim=(1, 2, 3), keepdim=True).where(are("contrast")[..., None], without)
    without = smooth.where(are("sharpness")[..., None], without)
    blended = (operators >= OPERATORS.index("brightness")) & (operators <= OPERATORS.index("sharpness"))
    factor = 1 + strengths.where(blended, 0.0)
    pixels = torch.lerp(without, pixels, factor[..., None]).round_().clamp_(0, 255)

    # How many pixels of each channel have a value: int64 (N, C, 256), as are the tables.
    positions = pixels.flatten(2).long()
    counts = positions.new_zeros(*positions.shape[:2], 256)
    # Whole numbers add up to the same in every order. To be deterministic torch would sort them on CUDA, which takes
    # several times the memory, and lets the host wait.
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    counts.scatter_add_(2, positions, positions.new_ones(()).expand_as(positions))
    torch.set_deterministic_debug_mode(mode)
    up_to = counts.cumsum(2)
    values = torch.arange(256, device=pixels.device).expand_as(counts)
    low, high = values.where(counts > 0, 255).amin(2, True), values.where(counts > 0, 0).amax(2, True)
    stretched = (values - low) * 255 / (high - low).clamp(min=1)
    step = (up_to[..., -1:] - counts.gather(2, high)) // 255  # without the brightest pixels, as in PIL
    equal = (up_to - counts + step // 2) // step.clamp(min=1)

    cleared = (2 ** strengths.round()).where(are("posterize"), 1.0)
    table = (values // cleared) * cleared
    table = (255 - values).where(are("solarize") & (values >= 255 - strengths), table)
    table = stretched.where(are("autocontrast") & (low < high), table)
    table = equal.where(are("equalize") & (step > 0), table)
    return table.round().clamp(0, 255).gather(2, positions).view_as(pixels)
