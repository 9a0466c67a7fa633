"""Learning-rate schedules as functions of the moment and the history, so that resuming needs no schedule state."""

import math
from collections.abc import Sequence

from src import params

# OneCycleLR's defaults in torch: the rise starts at a 25th of the peak, the fall ends at a 10,000th of that.
_CYCLE_START = 1 / 25
_CYCLE_END = 1 / 25e4


def lr_factor(config: params.Schedule, moment: float, epochs: int, losses: Sequence[float] = ()) -> float:
    """Return what the learning rate is multiplied by at a moment of training.

    moment: how many epochs have been trained, with the fraction of the present one; losses: the validation losses of
    the epochs before, which only `plateau` uses. The warm-up rises linearly from 0 (Goyal et al., 2017, arXiv
    1706.02677). Cosine: Loshchilov & Hutter, 2017 (arXiv 1608.03983), without restarts, over the epochs after the
    warm-up, as is linear. One cycle: Smith & Topin, 2018 (arXiv 1708.07120), as torch's OneCycleLR without its cycle of
    momentum, the warm-up being the rise. The others change only between epochs.
    """
    progress = (moment - config.warmup_epochs) / max(epochs - config.warmup_epochs, 1e-9)
    if config.name == "one_cycle":
        if moment < config.warmup_epochs:
            return _anneal(_CYCLE_START, 1.0, moment / config.warmup_epochs)
        return _anneal(1.0, _CYCLE_END, progress)
    if moment < config.warmup_epochs:
        return moment / config.warmup_epochs
    if config.name == "linear":
        return 1 - min(progress, 1.0)
    if config.name == "cosine":
        return _anneal(1.0, 0.0, progress)
    epoch = int(moment)
    match config.name:
        case "step":
            return config.factor ** (epoch // config.every)
        case "multi_step":
            return config.factor ** sum(epoch >= at for at in config.at)
        case "exponential":
            return config.factor**epoch
        case "plateau":
            return config.factor ** plateaus(losses, config.patience)
    return 1.0


def _anneal(start: float, end: float, progress: float) -> float:
    """Go from `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def plateaus(losses: Sequence[float], patience: int) -> int:
    """Count how often more than `patience` epochs in a row brought no lower loss, as ReduceLROnPlateau(threshold=0)."""
    found, waited, lowest = 0, 0, math.inf
    for loss in losses:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(lowest, loss)
        if waited > patience:
            found, waited = found + 1, 0
    return found
