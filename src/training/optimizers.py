"""Optimisers by name."""

import warnings
from typing import Any

from torch import Tensor, nn, optim
from torch.optim import Optimizer

from src import params
from src.models.layers import last_layer
from src.training.muon import MuonAndAdamW

_CLASSES: dict[str, type[Optimizer]] = {
    "sgd": optim.SGD,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "adamax": optim.Adamax,
    "adagrad": optim.Adagrad,
    "adadelta": optim.Adadelta,
    "rmsprop": optim.RMSprop,
    "rprop": optim.Rprop,
    "asgd": optim.ASGD,
}
_FUSED = ("sgd", "adam", "adamw")  # one operation for all weights, on every device: a tenth of a step with cifar_basic


def optimizer(section: params.Optimizer, network: nn.Module, decay_biases: bool) -> Optimizer:
    """The optimiser of all trainable weights; every `step` is given a closure that computes loss and gradient."""
    settings = section.model_dump(exclude={"name"})
    if section.name == "lbfgs":
        # The search along the line finds the length of the step, which a fixed one gets wrong at first.
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        return optim.LBFGS(weights, lr=section.lr, max_iter=section.iterations, line_search_fn="strong_wolfe")
    if section.name == "muon":
        hidden = _hidden(network)
        return MuonAndAdamW(hidden, _groups(network, decay_biases, hidden), **settings)
    if section.name in _FUSED:
        settings["fused"] = True
    if section.name == "asgd" and next(network.parameters()).device.type == "cuda":
        # Its counters lie beside the weights, and the host would wait for each of them at each step; made for CUDA
        # graphs, it computes with them there instead. All other optimisers keep on the host what they read there.
        settings["capturable"] = True
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)
    return _CLASSES[section.name](_groups(network, decay_biases), **settings)


def decayed(network: nn.Module, decay_biases: bool) -> list[Tensor]:
    """The trainable weights that penalties apply to: all, or those of more than one axis, which leaves out biases and
    the scales and offsets of normalisation layers."""
    return [weight for weight in network.parameters() if weight.requires_grad and (decay_biases or weight.ndim > 1)]


def _groups(network: nn.Module, decay_biases: bool, without: list[Tensor] | None = None) -> list[dict[str, Any]]:
    """The trainable weights but those `without`, divided by whether weight decay applies to them."""
    excluded = {id(weight) for weight in without or ()}
    penalised = {id(weight) for weight in decayed(network, decay_biases)}
    weights = [weight for weight in network.parameters() if weight.requires_grad and id(weight) not in excluded]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if id(weight) in penalised]},
        {"params": [weight for weight in weights if id(weight) not in penalised], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _hidden(network: nn.Module) -> list[Tensor]:
    """Weights of the linear and convolutional layers but the last."""
    last = last_layer(network)[1]
    layers = (module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    return [layer.weight for layer in layers if layer is not last and layer.weight.requires_grad]
