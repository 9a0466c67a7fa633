"""Optimisers and learning-rate schedules by name."""

import math

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from src import params


def optimizer(section: params.Sgd | params.Adam, network: nn.Module) -> Optimizer:
    """The optimiser of all trainable weights; weight decay applies to every one of them, as the tutorials have it."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    if isinstance(section, params.Sgd):
        return SGD(
            weights,
            lr=section.lr,
            momentum=section.momentum,
            nesterov=section.nesterov,
            weight_decay=section.weight_decay,
        )
    adam = AdamW if section.name == "adamw" else Adam
    return adam(weights, lr=section.lr, weight_decay=section.weight_decay)


def lr_factor(section: params.Constant | params.Step | params.Cosine, epoch: float, epochs: int) -> float:
    """What the learning rate is multiplied by at a moment of training.

    epoch: how many epochs have been trained, with the fraction of the present one. A pure function of it, so that
    resuming needs no schedule state. Cosine: Loshchilov & Hutter, 2017 (arXiv 1608.03983), without restarts, after a
    linear warm-up.
    """
    if isinstance(section, params.Constant):
        return 1.0
    if isinstance(section, params.Step):
        return section.factor ** (int(epoch) // section.every)
    if epoch < section.warmup_epochs:
        return epoch / section.warmup_epochs
    progress = (epoch - section.warmup_epochs) / max(epochs - section.warmup_epochs, 1e-9)
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2
