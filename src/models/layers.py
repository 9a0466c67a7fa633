"""Layers of a network: activations by name, the last layer, freezing, and sizes."""

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src import params

Activation = Callable[[], nn.Module]

ACTIVATIONS: dict[params.Activation, Activation] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.01),  # the slope of Maas et al., 2013
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
}

# They never fall: the largest input gives the largest output, so max-pooling may come first. GELU falls below −0.75.
RISING = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)


def pooled(activation: Activation) -> list[nn.Module]:
    """Make an activation and 2×2 max-pooling, in the cheaper order if both orders give the same."""
    layers: list[nn.Module] = [activation(), nn.MaxPool2d(2)]
    return layers[::-1] if isinstance(layers[0], RISING) else layers


# Activations between the layers of torchvision's networks; sigmoids there are gates, which are not exchanged.
_PUBLISHED = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish)


def replace_activations(network: nn.Module, activation: Activation) -> None:
    """Put `activation` in the place of every activation between layers."""
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, _PUBLISHED):
            network.set_submodule(name, activation())


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


def freeze_all_but_last(network: nn.Module) -> None:
    """Leave only the last layer to be trained."""
    network.requires_grad_(False)
    last_layer(network)[1].requires_grad_()


def freeze_batch_norm(network: nn.Module) -> None:
    """Keep the weights of batch norms as they are; `Classifier.train` then keeps their running statistics, too."""
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.requires_grad_(False)


def is_frozen(layer: nn.Module) -> bool:
    """Tell if the layer has weights, and none of them is trained."""
    weights = list(layer.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)
