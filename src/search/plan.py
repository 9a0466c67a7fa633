"""Plan the trials of an Optuna study: those of a search, or those that confirm settings with several seeds."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from optuna.distributions import CategoricalDistribution, distribution_to_json

from src.core.files import digest
from src.params import Params, with_values
from src.search import sampling
from src.search.messages import Task
from src.search.objectives import Objective
from src.search.sampling import Space
from src.search.space import Values
from src.tracking import identity

# The code of this folder on which trials depend. The code of training is what `dvc.yaml` lists for the stage train.
_CODE = ("objectives.py", "plan.py", "sampling.py", "space.py", "trials.py", "worker_process.py")


@dataclass(frozen=True)
class Plan:
    """Describe a study: a search or, with `settings`, a confirmation, which trains each of them with several seeds.

    Its name holds a digest of all that its trials depend on.
    """

    params: Params  # train.epochs is the number of epochs of a trial; tune names sampler and pruner
    name: str
    count: int
    space: Space
    settings: Mapping[str, Values] = field(default_factory=dict)  # by name; the space is these names, and seeds

    @property
    def objective(self) -> Objective:
        return Objective(self.params.tune.objective)

    def training(self, values: Values) -> tuple[Values, int]:
        """Return the parameters by dotted key, and the seed, of a trial with these values of the space."""
        if not self.settings:
            return values, self.params.seed
        return self.settings[str(values["setting"])], int(str(values["seed"]))

    def task(self, values: Values) -> Task:
        """Return the training of these values. Raises `UserError` if they do not go together."""
        settings, seed = self.training(values)
        params = with_values(self.params, settings)
        return Task(params.model, params.train, seed)


def search(params: Params, space: Space) -> Plan:
    """Return the search that `params.tune` describes. Raises `UserError`."""
    tune = params.tune
    settings = identity.flatten(params.model_dump(include={"seed", "split", "model", "train"}))
    asked = {
        "data": identity.data_digest(),
        "parameters": {key: value for key, value in settings.items() if key not in space},
        "epochs": tune.epochs or params.train.epochs,
        "space": {key: json.loads(distribution_to_json(entry)) for key, entry in space.items()},
        **{key: getattr(tune, key) for key in ("objective", "sampler", "pruner")},
        "code": [identity.code_digest(), *(digest(Path(__file__).parent / file) for file in _CODE)],
        "versions": {name: metadata.version(name).partition("+")[0] for name in ("torch", "torchvision", "optuna")},
    }
    del asked["parameters"]["train.epochs"]
    question = json.dumps(asked, sort_keys=True)
    network = params.model.name.replace("/", "-")
    name = f"{params.data.name}-{network}-{hashlib.md5(question.encode()).hexdigest()[:12]}"
    count = sampling.trial_count(tune.sampler, space, tune.trials)
    return Plan(with_values(params, {"train.epochs": asked["epochs"]}), name, count, space)


def confirmation(of: Plan, epochs: int, settings: Mapping[str, Values]) -> Plan:
    """Return trainings of the settings, with other seeds than the search's and the epochs of the stage train."""
    wanted = of.params.tune.confirm.seeds
    seeds = [seed for seed in range(wanted + 1) if seed != of.params.seed][:wanted]
    asked = {"search": of.name, "epochs": epochs, "settings": dict(settings), "seeds": seeds}
    question = json.dumps(asked, sort_keys=True)
    name = f"{of.name}-confirmation-{hashlib.md5(question.encode()).hexdigest()[:8]}"
    space = {"setting": CategoricalDistribution(list(settings)), "seed": CategoricalDistribution(seeds)}
    params = with_values(of.params, {"train.epochs": epochs, "tune.sampler": "grid", "tune.pruner": "none"})
    return Plan(params, name, len(settings) * len(seeds), space, settings)
