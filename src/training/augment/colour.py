"""Brightness, contrast, saturation, hue and grey as torchvision defines them, with a factor for each image."""

import torch
from torch import Generator, Tensor

from src import params

# ITU-R BT.601, with torchvision's digits
LUMINANCE = (0.2989, 0.587, 0.114)


def changes(augment: params.Augment) -> bool:
    """Tell if any operator on colours is asked for."""
    return any((augment.brightness, augment.contrast, augment.saturation, augment.hue, augment.grey))


def draw_factors(augment: params.Augment, count: int, generator: Generator) -> Tensor:
    """Draw factors, float32 (N, 5).

    Those of brightness, contrast and saturation are uniform within 1 ± the bound, at least 0; the fourth is the turn of
    the hue as a share of the circle; the last is 1 where the image becomes grey.
    """
    uniform = torch.rand(4, count, generator=generator) * 2 - 1
    factors = []
    for index, bound in enumerate((augment.brightness, augment.contrast, augment.saturation)):
        low, high = max(0.0, 1 - bound), 1 + bound
        factors.append((low + high) / 2 + uniform[index] * ((high - low) / 2))
    grey = torch.rand(count, generator=generator) < augment.grey
    return torch.stack([*factors, uniform[3] * augment.hue, grey.float()], dim=1)


def adjust(augment: params.Augment, pixels: Tensor, factors: Tensor) -> Tensor:
    """Adjust float32 pixels (N, C, H, W) in 0…255, always in this order, where torchvision shuffles the first four."""
    brightness, contrast, saturation, turn, grey = factors[:, :, None, None, None].unbind(dim=1)
    if augment.brightness:
        pixels = (pixels * brightness).clamp_(0, 255)
    if augment.contrast:
        mean = luminance(pixels).mean(dim=(1, 2, 3), keepdim=True)
        pixels = torch.lerp(mean, pixels, contrast).clamp_(0, 255)
    if augment.saturation:
        pixels = torch.lerp(luminance(pixels), pixels, saturation).clamp_(0, 255)
    if augment.hue:
        pixels = turn_hue(pixels, turn[:, 0])
    if augment.grey:
        pixels = torch.where(grey > 0, luminance(pixels), pixels)
    return pixels


def luminance(pixels: Tensor) -> Tensor:
    """Return the luminance (N, 1, H, W) of pixels (N, 3, H, W); images of one channel come back as they are."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.unbind(dim=1)
    return (red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2])[:, None]


def turn_hue(pixels: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue, as HSV defines it, of pixels (N, 3, H, W) by shares of the circle (N, 1, 1).

    Value and saturation stay, and so do the largest and the smallest channel. A. R. Smith, Color Gamut Transform Pairs,
    SIGGRAPH 1978; the way back to RGB is one formula for all six sectors.
    """
    red, green, blue = pixels.unbind(dim=1)
    low, high = torch.minimum(torch.minimum(red, green), blue), torch.maximum(torch.maximum(red, green), blue)
    span = high - low
    divisor = torch.where(span == 0, 1.0, span)
    sector = torch.where(
        high == red,
        (green - blue) / divisor,
        torch.where(high == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sector = (sector + 6 * turn).remainder_(6)
    shares = ((sector - 3).abs_().sub_(1), (sector - 2).abs_().neg_().add_(2), (sector - 4).abs_().neg_().add_(2))
    return torch.stack([torch.addcmul(low, span, share.clamp_(0, 1)) for share in shares], dim=1)
