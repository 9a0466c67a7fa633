"""Optimisers by name."""

import warnings
from typing import Any

from torch import Tensor, nn, optim
from torch.optim import Optimizer

from src import params
from src.models.layers import last_layer
from src.models.whitening import whitening_layer
from src.training.muon import MuonAndAdamW, MuonAndSgd

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


def optimizer(config: params.Optimizer, network: nn.Module, decay_biases: bool, *, compiled: bool = False) -> Optimizer:
    """Return the optimiser of all trainable weights. `lbfgs` needs a closure at every step, the others take one.

    compiled: by torch.compile where that makes it faster, which is Muon. All others are one kernel or few.
    """
    settings = config.model_dump(exclude={"name"})
    if config.name == "lbfgs":
        # The search along the line finds the length of the step, which a fixed one gets wrong at first.
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        return optim.LBFGS(weights, lr=config.lr, max_iter=config.iterations, line_search_fn="strong_wolfe")
    if config.name == "muon":
        hidden = _hidden(network)
        return MuonAndAdamW(hidden, _groups(network, decay_biases, hidden), compiled=compiled, **settings)
    if isinstance(config, params.MuonSgd):
        groups = _sgd_groups(config, network, decay_biases)
        rates = config.lr, config.momentum, config.newton_schulz, config.sgd_momentum
        return MuonAndSgd(_hidden(network), groups, *rates, compiled=compiled)
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


def _sgd_groups(config: params.MuonSgd, network: nn.Module, decay_biases: bool) -> list[dict[str, Any]]:
    """Group all weights but Muon's by rate: the last layer's, those of a whitening layer, biases and norms.

    At its full rate SGD takes `weight_decay` of a weight in a step, whatever the rate is.
    """
    penalised = {id(weight) for weight in decayed(network, decay_biases)}
    head = last_layer(network)[1].weight
    first = whitening_layer(network)
    early = [] if first is None else list(first.parameters())
    excluded = {id(weight) for weight in (*_hidden(network), *early, head)}
    others = [weight for weight in network.parameters() if id(weight) not in excluded]
    groups: list[dict[str, Any]] = []
    for weights, lr, share in (
        (early, config.bias_lr, config.whitening_share),
        (others, config.bias_lr, 1.0),
        ([head], config.head_lr, 1.0),
    ):
        for decay in (True, False):
            chosen = [weight for weight in weights if weight.requires_grad and (id(weight) in penalised) == decay]
            rates = {"lr": lr, "peak": lr, "share": share, "weight_decay": config.weight_decay / lr if decay else 0.0}
            groups.append({"params": chosen} | rates)
    return [group for group in groups if group["params"]]


def _hidden(network: nn.Module) -> list[Tensor]:
    """Return the trainable weights of the linear and convolutional layers but the last."""
    last = last_layer(network)[1]
    layers = (module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    return [layer.weight for layer in layers if layer is not last and layer.weight.requires_grad]
