"""What is to be trained, as numbered points: the points of a space, or chosen settings with several seeds."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler

from src.core.files import digest
from src.params import Params, Scalar
from src.search import sampling
from src.tracking import identity
from src.training.results import Epoch

# Our own code that decides what a point is and what comes of it; that of training is what the stage train lists.
_CODE = ("plan.py", "points.py", "sampling.py", "space.py", "trial.py")


@dataclass(frozen=True)
class Plan(ABC):
    """`params.train.epochs` is the number of epochs of a trial."""

    params: Params
    name: str
    question: str  # what the name's digest is of
    points: int

    @property
    def maximize(self) -> bool:
        return self.params.tune.objective == "accuracy"

    def objective(self, epoch: Epoch) -> float:
        """What counts of an epoch. A search without validation images is refused before."""
        value = epoch.validation_accuracy if self.maximize else epoch.validation_loss
        assert value is not None
        return value

    def best(self, history: Sequence[Epoch]) -> float:
        """Return the objective of a trained point: the highest accuracy, or the lowest loss, of any of its epochs."""
        return (max if self.maximize else min)(self.objective(epoch) for epoch in history)

    @abstractmethod
    def sampler(self, number: int, *, crowded: bool) -> BaseSampler: ...

    @abstractmethod
    def pruner(self) -> BasePruner: ...

    @abstractmethod
    def propose(self, trial: optuna.Trial) -> tuple[Mapping[str, Scalar], int]:
        """Values by dotted key, and the seed."""


@dataclass(frozen=True)
class Search(Plan):
    space: Mapping[str, BaseDistribution]
    epochs: int  # of the stage train: for so many settings are confirmed

    def sampler(self, number: int, *, crowded: bool) -> BaseSampler:
        return sampling.sampler(self.params.tune.sampler, self.space, self.params.seed, number, crowded=crowded)

    def pruner(self) -> BasePruner:
        return sampling.pruner(self.params.tune.pruner, self.params.train.epochs)

    def propose(self, trial: optuna.Trial) -> tuple[Mapping[str, Scalar], int]:
        return sampling.suggest(trial, self.space), self.params.seed


@dataclass(frozen=True)
class Confirmation(Plan):
    """Every setting with every seed: point n is seed n modulo their number."""

    settings: Sequence[Mapping[str, Scalar]]
    seeds: Sequence[int]

    def sampler(self, number: int, *, crowded: bool) -> BaseSampler:
        return sampling.Listed({})

    def pruner(self) -> BasePruner:
        return NopPruner()

    def propose(self, trial: optuna.Trial) -> tuple[Mapping[str, Scalar], int]:
        setting, seed = divmod(trial.number, len(self.seeds))
        return self.settings[setting], self.seeds[seed]


def search(params: Params, space: Mapping[str, BaseDistribution]) -> Search:
    """The search that `params.tune` describes. Raises `UserError`.

    Its name holds a digest of all that its trials depend on: a changed question is a new study.
    """
    tune = params.tune
    settings = identity.flatten(params.model_dump(include={"seed", "split", "model", "train"}))
    asked = {
        "data": identity.data_digest(),
        "parameters": {key: value for key, value in settings.items() if key not in space},
        "epochs": tune.epochs or params.train.epochs,
        "space": {key: json.loads(distribution_to_json(entry)) for key, entry in space.items()},
        **{key: getattr(tune, key) for key in ("objective", "sampler", "pruner")},
        "code": [identity.code_digest("train"), *(digest(Path(__file__).parent / file) for file in _CODE)],
        "versions": {name: metadata.version(name).partition("+")[0] for name in ("torch", "torchvision", "optuna")},
    }
    del asked["parameters"]["train.epochs"]
    question = json.dumps(asked, sort_keys=True)
    name = f"{params.data.name}-{params.model.name}-{hashlib.md5(question.encode()).hexdigest()[:12]}"
    points = sampling.points(tune.sampler, space, tune.trials)
    return Search(_with_epochs(params, asked["epochs"]), name, question, points, space, params.train.epochs)


def confirmation(of: Search, settings: Sequence[Mapping[str, Scalar]]) -> Confirmation:
    """Trainings of the settings, as the stage train would train them, with seeds that the search has not seen."""
    wanted = of.params.tune.confirm.seeds
    seeds = [seed for seed in range(wanted + 1) if seed != of.params.seed][:wanted]
    asked = {"search": of.name, "epochs": of.epochs, "settings": list(settings), "seeds": seeds}
    question = json.dumps(asked, sort_keys=True)
    name = f"{of.name}-confirmation-{hashlib.md5(question.encode()).hexdigest()[:8]}"
    return Confirmation(_with_epochs(of.params, of.epochs), name, question, len(settings) * len(seeds), settings, seeds)


def _with_epochs(params: Params, epochs: int) -> Params:
    return params.model_copy(update={"train": params.train.model_copy(update={"epochs": epochs})})
