"""Choose the values of a trial and when it is pruned, by the seed, its place in the study and earlier trials alone."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from src.core.errors import UserError
from src.params import Scalar

Space = Mapping[str, BaseDistribution]


def trial_count(kind: str, space: Space, trials: int) -> int:
    """Return the number of trials: `trials`, or the size of the grid if that is smaller.

    Raises `UserError` if a grid has a range without steps.
    """
    return min(trials, math.prod(map(len, _grid(space).values()))) if kind == "grid" else trials


class Sampler(BaseSampler):
    """Draw every trial by an Optuna sampler of its own, seeded by `seed` and the place of the trial in the study.

    Optuna does not store the state of samplers: one for all trials would draw its first values again in every process.
    """

    def __init__(self, kind: str, space: Space, seed: int, study: Study) -> None:
        self._kind, self._space, self._seed, self._study = kind, space, seed, study

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        # The argument `study` lacks trials if the pruner is Hyperband. One that was queued again has the values of its
        # first attempt, and no place of its own.
        every = self._study.get_trials(deepcopy=False)[: trial.number]
        place = trial.number - sum("failed_trial" in each.system_attrs for each in every)
        own = int(np.random.SeedSequence([self._seed, place]).generate_state(1)[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            match self._kind:
                case "tpe":
                    self._own: BaseSampler = TPESampler(seed=own, multivariate=True, constant_liar=True)
                case "gp":
                    self._own = GPSampler(seed=own)
                case "grid":
                    self._own = PartialFixedSampler(_combination(self._space, self._seed, place), RandomSampler())
                case _:
                    self._own = RandomSampler(seed=own)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._own.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._own.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._own.sample_independent(study, trial, param_name, param_distribution)


def pruner(kind: str, epochs: int) -> BasePruner:
    """Return the pruner of trials with so many epochs. It is asked after each epoch."""
    if kind == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    # A tenth: in the warm-up of the learning rate the order of the trials says little.
    return MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 10) if kind == "median" else NopPruner()


def _combination(space: Space, seed: int, place: int) -> dict[str, Scalar]:
    """Return one combination of the grid, in an order drawn from the seed, so that the first trials are spread out."""
    grid = _grid(space)
    counts = [len(values) for values in grid.values()]
    number = np.random.default_rng(seed).permutation(math.prod(counts))[place % math.prod(counts)]
    indices = np.unravel_index(number, counts, order="F")
    return {key: values[index] for (key, values), index in zip(grid.items(), indices, strict=True)}


def _grid(space: Space) -> dict[str, Sequence[Scalar]]:
    """Return the values of each key. Raises `UserError` for a range without steps."""
    grid: dict[str, Sequence[Scalar]] = {}
    for key, entry in space.items():
        if isinstance(entry, CategoricalDistribution):
            grid[key] = entry.choices
        elif isinstance(entry, IntDistribution | FloatDistribution) and entry.step is not None and not entry.log:
            count = round((entry.high - entry.low) / entry.step) + 1
            grid[key] = [round(entry.low + index * entry.step, 12) for index in range(count)]
        else:
            raise UserError(f"tune.sampler is grid, but tune.space: {key} has neither choices nor a step")
    return grid
