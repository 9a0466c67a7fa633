"""Choose the values of a trial and when it is pruned, by the seed, its place in the study and earlier trials alone."""

import math
import warnings
from collections.abc import Mapping

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, PartialFixedSampler, RandomSampler, TPESampler

from src.core.errors import UserError
from src.params import Scalar

Space = Mapping[str, BaseDistribution]


def trial_count(kind: str, space: Space, trials: int) -> int:
    """Return the number of trials: `trials`, or the size of the grid if that is smaller.

    Raises `UserError` if the sampler cannot sample this space.
    """
    if kind == "cmaes":
        ranges = [entry for entry in space.values() if not isinstance(entry, CategoricalDistribution)]
        if len(ranges) < max(2, len(space)):
            raise UserError("tune.sampler is cmaes: it needs two or more ranges and no choices: set tpe")
    if kind != "grid":
        return trials
    return min(trials, math.prod(len(_values(key, entry)) for key, entry in space.items()))


def sampler(kind: str, space: Space, seed: int, place: int) -> BaseSampler:
    """Return the sampler of a single trial, the one at this place in its study.

    Optuna does not store the state of samplers: one for all trials would draw its first values again in every process.
    """
    own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match kind:
            case "tpe":
                return TPESampler(seed=own, multivariate=True, constant_liar=True)
            case "cmaes":
                return CmaEsSampler(seed=own)
            case "gp":
                return GPSampler(seed=own)
            case "grid":
                return PartialFixedSampler(_combination(space, seed, place), RandomSampler())
            case _:
                return RandomSampler(seed=own)


def pruner(kind: str, epochs: int) -> BasePruner:
    """Return the pruner of trials with so many epochs. It is asked after each epoch."""
    if kind == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    # A tenth: in the warm-up of the learning rate the order of the trials says little.
    return MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 10) if kind == "median" else NopPruner()


def _combination(space: Space, seed: int, place: int) -> dict[str, Scalar]:
    """Return one combination of the grid, in an order drawn from the seed, so that the first trials are spread out."""
    lists = {key: _values(key, entry) for key, entry in space.items()}
    size = math.prod(map(len, lists.values()))
    rest = int(np.random.default_rng(seed).permutation(size)[place % size])
    chosen = {}
    for key, values in lists.items():
        rest, index = divmod(rest, len(values))
        chosen[key] = values[index]
    return chosen


def _values(key: str, entry: BaseDistribution) -> list[Scalar]:
    if isinstance(entry, CategoricalDistribution):
        return list(entry.choices)
    if isinstance(entry, IntDistribution) and not entry.log:
        return list(range(entry.low, entry.high + 1, entry.step))
    if isinstance(entry, FloatDistribution) and entry.step is not None:
        count = round((entry.high - entry.low) / entry.step) + 1
        return [round(entry.low + index * entry.step, 12) for index in range(count)]
    raise UserError(f"tune.sampler is grid, but tune.space: {key} has neither choices nor a step")
