"""Optimisers by name."""

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from src import params
from src.models.airbench import whitening_layer
from src.models.layers import last_layer
from src.training.muon import MuonAnd

_CLASSES: dict[str, type[Optimizer]] = {
    kind.__name__.lower(): kind
    for kind in (
        optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam, optim.Adamax, optim.Adagrad, optim.Adadelta,
        optim.RMSprop, optim.Rprop, optim.ASGD,
    )
}  # fmt: skip
# torch warns where an optimiser could be recorded and is not, which is so in the steps before a recording.
warnings.filterwarnings("ignore", "This instance was constructed with capturable=True", UserWarning)
_LEVELS = 8  # steps of the learning rate from the first to the last layer; each adds an operation to every step
_FUSED = ("sgd", "adam", "adamw")  # one operation for all weights, on every device: saves a tenth of a step
# A CUDA graph can hold their step: they take the rate from the device, and the host reads nothing.
RECORDABLE = (*_FUSED, "muon", "muon_sgd")


def optimizer(
    config: params.Optimizer,
    network: nn.Module,
    decay_biases: bool,
    first_layer_lr: float = 1.0,
    *,
    compiled: bool = False,
) -> Optimizer:
    """Return the optimiser of all trainable weights. `lbfgs` needs a closure at every step.

    first_layer_lr: what the learning rate of the first layer is multiplied by. That of the last layer is multiplied by
    1, those between rise by equal ratios (Bao et al., 2022, arXiv 2106.08254), in `_LEVELS` steps: the key `lr_scale`
    of each group of weights. It must be 1 for `lbfgs` and Muon, which have no such groups.
    compiled: by torch.compile where that is faster, which is Muon alone.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    on_gpu = next(network.parameters()).is_cuda
    if config.name == "lbfgs":
        # A fixed length of the step would be wrong at first: the line search finds it.
        return optim.LBFGS(weights, lr=config.lr, max_iter=config.iterations, line_search_fn="strong_wolfe")
    if config.name == "muon":
        # Biases, norms and the last layer by AdamW, as Muon's authors advise. One learning rate serves both, since
        # Muon's steps are scaled to the size of AdamW's (Liu et al., 2025, arXiv 2502.16982).
        lr, decay = config.lr, config.weight_decay
        hidden, others = _hidden_and_others(network)
        adamw = optim.AdamW(_groups(others, decay_biases), lr, weight_decay=decay, fused=True, capturable=on_gpu)
        scaling: dict[str, Any] = {"momentum": config.momentum, "adjust_lr_fn": "match_rms_adamw"}
        return MuonAnd(hidden, adamw, lr, decay, compiled=compiled, **scaling)
    if isinstance(config, params.MuonSgd):
        hidden, others = _hidden_and_others(network)
        groups = _sgd_groups(config, network, others, decay_biases)
        sgd = optim.SGD(groups, config.lr, config.sgd_momentum, nesterov=True, fused=True)
        shape = {"momentum": config.momentum, "ns_steps": config.newton_schulz}
        return MuonAnd(hidden, sgd, config.lr, 0.0, norm_first=True, compiled=compiled, **shape)
    settings = config.model_dump(exclude={"name"})
    if config.name in _FUSED:
        settings["fused"] = True
    if config.name in ("adam", "adamw", "asgd", "nadam") and on_gpu:
        # A recorded step (`src.compute.cuda_graph`) counts on the device. Some of what ASGD counts lies there anyway,
        # and of what NAdam counts once it is restored: the host would wait for it at each step.
        settings["capturable"] = True
    groups = _groups(weights, decay_biases)
    if first_layer_lr < 1:
        groups = [part for group in groups for part in _by_layer(group, network, first_layer_lr)]
    return _eager(_CLASSES[config.name])(groups, **settings)


def _eager(kind: type[Optimizer]) -> type[Optimizer]:
    """Return the class without its decorators, which import torch's compiler, in two seconds, to switch it off."""
    methods = {
        name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "state_dict", "load_state_dict")
    }
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


def place_rates(optimiser: Optimizer, device: torch.device) -> None:
    """Put the rates on the device, where a recorded step reads them."""
    for group in optimiser.param_groups:
        group["lr"] = torch.zeros((), device=device)


def set_rates(optimiser: Optimizer, lr: float) -> None:
    """Set the learning rates of the next step. lr: that of all groups which have no `peak` of their own.

    A group's `lr_scale` multiplies it. A rate with a `peak` falls from there as `lr` falls from `muon_peak`, and is 0
    as soon as that has fallen by the group's `share`.
    """
    for group in optimiser.param_groups:
        rate = lr * group.get("lr_scale", 1.0)
        if "peak" in group:
            rate = group["peak"] * max(0.0, 1 - (1 - lr / group["muon_peak"]) / group["share"])
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def is_decayed(weight: Tensor, decay_biases: bool) -> bool:
    """Tell if penalties apply to a weight: to all, or only to those of more than one axis.

    Biases, and the scales and offsets of normalisation layers, have one axis.
    """
    return decay_biases or weight.ndim > 1


def _groups(weights: Sequence[Tensor], decay_biases: bool, **settings: float) -> list[dict[str, Any]]:
    """Divide weights into a group with weight decay and one with none, as far as there are such weights."""
    decayed = [weight for weight in weights if is_decayed(weight, decay_biases)]
    others = [weight for weight in weights if not is_decayed(weight, decay_biases)]
    groups: list[dict[str, Any]] = [
        {**settings, "params": decayed},
        {**settings, "params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _by_layer(group: dict[str, Any], network: nn.Module, first_layer_lr: float) -> list[dict[str, Any]]:
    """Divide a group by learning rate, which follows from the place of each weight's layer in the network."""
    layers = [layer for layer in network.modules() if any(True for _ in layer.parameters(recurse=False))]
    parts: dict[float, list[Tensor]] = {}
    left = set(group["params"])
    for number, layer in enumerate(layers):
        # From 0 at the last layer to 1 at the first. A single layer is the last one.
        below = round(_LEVELS * (len(layers) - 1 - number) / max(1, len(layers) - 1)) / _LEVELS
        weights = [weight for weight in layer.parameters(recurse=False) if weight in left]
        left -= set(weights)  # one that several layers share is learned once
        parts.setdefault(first_layer_lr**below, []).extend(weights)
    return [group | {"params": weights, "lr_scale": scale} for scale, weights in parts.items() if weights]


def _sgd_groups(
    config: params.MuonSgd, network: nn.Module, weights: list[Tensor], decay_biases: bool
) -> list[dict[str, Any]]:
    """Group the weights that are not Muon's by rate: those of a whitening layer, biases and norms, the last layer's.

    In a step at the full rate, SGD takes the share `weight_decay` of a weight away, whatever that rate is.
    """
    head = last_layer(network)[1].weight
    layer = whitening_layer(network)
    whitening = set() if layer is None else set(layer.parameters())
    groups = []
    for chosen, lr, share in (
        ([weight for weight in weights if weight in whitening], config.bias_lr, config.whitening_share),
        ([weight for weight in weights if weight not in whitening | {head}], config.bias_lr, 1.0),
        ([weight for weight in weights if weight is head], config.head_lr, 1.0),
    ):
        rates = {"lr": lr, "peak": lr, "muon_peak": config.lr, "share": share}
        groups += _groups(chosen, decay_biases, weight_decay=config.weight_decay / lr, **rates)
    return groups


def _hidden_and_others(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the trainable weights of the linear and convolutional layers but the last, and all others."""
    last = last_layer(network)[1]
    layers = (module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    matrices = {layer.weight for layer in layers if layer is not last}
    weights: list[Tensor] = [weight for weight in network.parameters() if weight.requires_grad]
    hidden = [weight for weight in weights if weight in matrices]
    return hidden, [weight for weight in weights if weight not in matrices]
