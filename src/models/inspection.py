"""Inspection of a trained network: its layers, its kernels, its feature maps of one image, computed on the CPU."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.core.errors import UserError
from src.models.classifier import Classifier
from src.models.layers import bytes_of, count_parameters
from src.models.receptive import Field, receptive_fields

Floats = NDArray[np.float32]


class Layer(NamedTuple):
    """Describe a layer that has weights or changes height and width."""

    name: str  # as in the network's state dict
    kind: str  # "conv 3×3, stride 2"
    output: tuple[int, ...]  # (C, H, W) or (K,)
    parameters: int
    field: Field | None  # None if not known


@dataclass(frozen=True)
class Inspection:
    """Hold a network's layers in the order in which they compute, and its feature maps of an image and a copy."""

    layers: list[Layer]
    parameters: int
    size: int  # bytes of parameters and buffers
    images: NDArray[np.uint8]  # (2, H, W, C): the image and its shifted copy
    kernels: list[Floats]  # weights (O, I, h, w) of the first and second convolution
    means: dict[str, Floats]  # of each convolution: mean (2, h, w) of its output channels, before any activation
    chosen: str  # the convolution of which all channels are kept
    maps: Floats  # (2, O, h, w): those channels


@torch.no_grad()
def inspect_network(classifier: Classifier, image: NDArray[np.uint8], shift: int, layer: int) -> Inspection:
    """Inspect the classifier while it computes the image (H, W, C) and a copy that is `shift` pixels further right.

    Raises `UserError` if there is no `layer`-th convolution, counted from 1.
    """
    network = classifier.eval().network
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    if layer > convolutions:
        raise UserError(f"visualize.layer is {layer}, but the network has {convolutions} convolutions")
    height, width, channels = image.shape
    images = np.stack([image, np.zeros_like(image)])
    images[1, :, shift:] = image[:, : max(0, width - shift)]
    ran: dict[str, tuple[nn.Module, torch.Size, torch.Size]] = {}
    kernels: list[Floats] = []
    means: dict[str, Floats] = {}
    maps: dict[str, Floats] = {}

    names = {
        module: name
        for name, module in network.named_modules()
        if not list(module.children()) or isinstance(module, _BatchNorm)  # timm's hold their activation
    }

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        name = names[module]
        if name in ran or not isinstance(output, Tensor):
            return
        ran[name] = module, inputs[0].shape, output.shape
        if isinstance(module, nn.Conv2d):
            if len(means) < 2:
                kernels.append(module.weight.numpy(force=True))
            means[name] = output.mean(dim=1).numpy()
            if len(means) == layer:
                maps[name] = output.numpy()

    with ExitStack() as hooks:
        for module in names:
            hooks.enter_context(module.register_forward_hook(look))
        classifier(torch.from_numpy(images))
    fields = receptive_fields(network, channels, height, width)
    layers = [
        Layer(name, describe(module), tuple(after[1:]), count_parameters(module), fields.get(name))
        for name, (module, before, after) in ran.items()
        if count_parameters(module) or (before[2:] != after[2:] and not isinstance(module, nn.Flatten | nn.Identity))
    ]
    ((chosen, chosen_maps),) = maps.items()
    return Inspection(layers, count_parameters(network), bytes_of(network), images, kernels, means, chosen, chosen_maps)


def table(layers: list[Layer]) -> pandas.DataFrame:
    """Return the columns `name,kind,output,parameters,receptive_field` of `reports/layers.csv`."""
    return pandas.DataFrame(
        {
            "name": [layer.name for layer in layers],
            "kind": [layer.kind for layer in layers],
            "output": ["×".join(map(str, layer.output)) for layer in layers],
            "parameters": [layer.parameters for layer in layers],
            "receptive_field": ["×".join(map(str, layer.field.size)) if layer.field else "" for layer in layers],
        }
    )


_KINDS = {
    "Conv2d": "conv", "MaxPool2d": "max-pool", "AvgPool2d": "mean-pool", "AdaptiveAvgPool2d": "mean-pool",
    "Linear": "linear", "BatchNorm2d": "batch norm", "LayerNorm": "layer norm", "LayerNorm2d": "layer norm",
    "Conv2dSame": "conv", "BatchNormAct2d": "batch norm",
}  # fmt: skip


def describe(module: nn.Module) -> str:
    """Describe a layer in the field's words: "conv 3×3, stride 2, depthwise"."""
    name = type(module).__name__
    words = _KINDS.get(name, name)
    kernel: Any = getattr(module, "kernel_size", None)
    if kernel is None:
        return words
    size = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
    words += f" {size[0]}×{size[1]}"
    stride: Any = getattr(module, "stride", 1)
    step = stride if isinstance(stride, int) else stride[0]
    pooling = not isinstance(module, nn.Conv2d)
    if step != (size[0] if pooling else 1):
        words += f", stride {step}"
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        words += ", depthwise" if module.groups == module.in_channels else f", {module.groups} groups"
    return words
