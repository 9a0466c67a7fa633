"""Layers of a network: activations by name, the last layer, and sizes."""

from collections.abc import Callable
from functools import partial

from torch import nn

from src import params

Activation = Callable[[], nn.Module]

ACTIVATIONS: dict[params.Activation, Activation] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.01),  # the slope of Maas et al., 2013
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}


def last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return name and module of the layer that gives the logits; squeezenet's is a convolution."""
    return [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]


def count_parameters(module: nn.Module) -> int:
    """Count the weights, trained or frozen."""
    return sum(parameter.numel() for parameter in module.parameters())


def bytes_of(module: nn.Module) -> int:
    """Return the bytes that parameters and buffers take in memory."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def head(network: nn.Module) -> nn.Module:
    """Return the layer that gives the logits, together with the dropout directly before it."""
    name, layer = last_layer(network)
    around = network.get_submodule(name.rpartition(".")[0])
    parts = list(around.children())
    return around if len(parts) == 2 and isinstance(parts[0], nn.Dropout) and parts[1] is layer else layer


def is_frozen(layer: nn.Module) -> bool:
    """Tell if the layer has weights, and none of them is trained."""
    weights = list(layer.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)
