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


def optimizer(config: params.Optimizer, network: nn.Module, decay_biases: bool) -> Optimizer:
    """Return the optimiser of all trainable weights. `lbfgs` needs a closure at every step, the others take one."""
    settings = config.model_dump(exclude={"name"})
    if config.name == "lbfgs":
        # The search along the line finds the length of the step, which a fixed one gets wrong at first.
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        return optim.LBFGS(weights, lr=config.lr, max_iter=config.iterations, line_search_fn="strong_wolfe")
    if config.name == "muon":
        last = last_layer(network)[1]
        layers = (module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d))
        hidden = [layer.weight for layer in layers if layer is not last and layer.weight.requires_grad]
        return MuonAndAdamW(hidden, _groups(network, decay_biases, hidden), **settings)
    if config.name in _FUSED:
        settings["fused"] = True
    if config.name == "asgd" and next(network.parameters()).device.type == "cuda":
        # Its counters lie beside the weights, and the host would wait for each of them at each step; made for CUDA
        # graphs, it computes with them there instead. All other optimisers keep on the host what they read there.
        settings["capturable"] = True
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)
    return _CLASSES[config.name](_groups(network, decay_biases), **settings)


def decayed(network: nn.Module, decay_biases: bool) -> list[Tensor]:
    """Return the trainable weights that penalties apply to: all, or those of more than one axis.

    The latter leaves out biases, and the scales and offsets of normalisation layers.
    """
    return [weight for weight in network.parameters() if weight.requires_grad and (decay_biases or weight.ndim > 1)]


def _groups(network: nn.Module, decay_biases: bool, without: list[Tensor] | None = None) -> list[dict[str, Any]]:
    """Group the trainable weights, but those `without`, by weight decay: its own for one group, 0 for the other."""
    excluded = {id(weight) for weight in without or ()}
    penalised = {id(weight) for weight in decayed(network, decay_biases)}
    weights = [weight for weight in network.parameters() if weight.requires_grad and id(weight) not in excluded]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if id(weight) in penalised]},
        {"params": [weight for weight in weights if id(weight) not in penalised], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
