"""Which values a trial has, and when it is pruned: a function of (seed, place in the study, earlier trials)."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from src.core.errors import UserError
from src.params import Scalar

Space = Mapping[str, BaseDistribution]


class AllAtOnce(BaseSampler):
    """Draw all values of a trial at once, those that it has already too.

    A trial whose search was killed between two of its values then gets the same ones again.
    """

    def __init__(self, sampler: BaseSampler, space: Space) -> None:
        self._sampler, self._space = sampler, dict(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        together = self._sampler.infer_relative_search_space(study, trial)
        values = self._sampler.sample_relative(study, trial, together)
        alone = {key: entry for key, entry in search_space.items() if key not in values}
        return values | {key: self._sampler.sample_independent(study, trial, key, alone[key]) for key in alone}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def trial_count(kind: str, space: Space, trials: int) -> int:
    """Return how many trials there are to run: `trials`, or the size of a smaller grid.

    Raises `UserError` where the sampler cannot sample this space.
    """
    if kind == "cmaes":
        ranges = [entry for entry in space.values() if not isinstance(entry, CategoricalDistribution)]
        if len(ranges) < max(2, len(space)):
            raise UserError("tune.sampler is cmaes: it needs two or more ranges and no choices: set tpe")
    if kind != "grid":
        return trials
    return min(trials, math.prod(len(_values(key, entry)) for key, entry in space.items()))


def sampler(kind: str, space: Space, seed: int, place: int) -> BaseSampler:
    """Return the sampler of one trial, the one at that place in its study.

    Optuna stores no sampler's state: one for all trials would begin anew in every process, with the values that it drew
    first.
    """
    own = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match kind:
            case "tpe":
                return AllAtOnce(TPESampler(seed=own, multivariate=True, constant_liar=True), space)
            case "cmaes":
                return AllAtOnce(CmaEsSampler(seed=own), space)
            case "gp":
                return AllAtOnce(GPSampler(seed=own), space)
            case "grid":
                return PartialFixedSampler(_combination(space, seed, place), RandomSampler())
            case _:
                return AllAtOnce(RandomSampler(seed=own), space)


def pruner(kind: str, epochs: int) -> BasePruner:
    """Return the pruner of a search whose trials have so many epochs; it is asked after each."""
    if kind == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    # A tenth: in the warm-up of the learning rate the order of the trials says little.
    return MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 10) if kind == "median" else NopPruner()


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Scalar]:
    """Return the trial's values; those that it has already stay."""
    values: dict[str, Scalar] = {}
    for key, entry in space.items():
        if isinstance(entry, IntDistribution):
            values[key] = trial.suggest_int(key, entry.low, entry.high, log=entry.log, step=entry.step)
        elif isinstance(entry, FloatDistribution):
            values[key] = trial.suggest_float(key, entry.low, entry.high, log=entry.log, step=entry.step)
        elif isinstance(entry, CategoricalDistribution):
            values[key] = trial.suggest_categorical(key, entry.choices)
    return values


def _combination(space: Space, seed: int, place: int) -> dict[str, Scalar]:
    """Return one combination of the grid; their order is drawn from the seed, so that its first part is spread."""
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
