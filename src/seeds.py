"""How much of a result is luck: the present recipe trained again with other seeds, on the same division of the data.

    python -m src.seeds --runs 5

Each run adds a row to `reports/seeds.csv`: seed, digest of the recipe, validation and test accuracy. Rows of other
recipes, or of other data, have another digest and are left alone; a seed that is there already is not run again.
"""

import argparse
from collections.abc import Mapping
from itertools import count, islice
from subprocess import run

from src.compute import portable

if __name__ == "__main__":
    portable.begin()

import numpy as np
import pandas
from numpy.typing import NDArray

from src import params
from src.compute import device
from src.compute.batches import Batches
from src.compute.device import Compute
from src.core.errors import UserError, command
from src.core.paths import SEEDS
from src.data.prepared import SPLITS, Dataset, SplitName, read_dataset
from src.data.verify import open_checked
from src.evaluation import tables
from src.models.file import ModelSpec
from src.params import load
from src.stats.intervals import mean_interval
from src.tracking import identity
from src.training.loop import measure, train

COLUMNS = ["seed", "recipe", "validation_accuracy", "test_accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how many more seeds to train (default: %(default)s)")
    runs = parser.parse_args().runs
    if runs < 1:
        raise UserError(f"--runs is {runs}: must be at least 1")
    recipe = load()
    # The data must be those of the present parameters.
    if run(["dvc", "repro", "split"], check=False).returncode:
        raise UserError("dvc repro split failed: mend what it says above")
    compute = device.prepare(recipe.train, recipe.model.name)
    dataset = read_dataset()
    opened = open_checked(dataset, *SPLITS)
    images = {split: Batches(each, compute.device) for split, each in zip(SPLITS, opened, strict=True)}
    key = identity.recipe_digest(recipe, identity.data_digest())
    table = tables.read(SEEDS) if SEEDS.exists() else pandas.DataFrame(columns=COLUMNS)
    own = table[table["recipe"] == key]
    print(f"recipe {key}: {len(own)} seeds known, {runs} more on {compute}")
    for seed in islice((seed for seed in count() if seed not in set(own["seed"])), runs):
        validation, test = train_once(recipe, seed, dataset, images, compute)
        row = pandas.DataFrame([[seed, key, validation, test]], columns=COLUMNS)
        table = pandas.concat([table, row]) if len(table) else row
        tables.write(SEEDS, table)  # at once, so that nothing is lost when a later run is stopped
        print(f"seed {seed}: validation {_percent(validation)}, test {_percent(test)}")
    own = table[table["recipe"] == key]
    for split in ("validation", "test"):
        print(f"{split:<11}{summary(own[f'{split}_accuracy'].dropna().to_numpy(dtype=np.float64))}")


def train_once(
    recipe: params.Params, seed: int, dataset: Dataset, images: Mapping[SplitName, Batches], compute: Compute
) -> tuple[float | None, float | None]:
    """Validation and test accuracy of one training; None where there are no such images."""
    classifier = ModelSpec.of(recipe.model, dataset).build(seed)
    for _ in train(classifier, images["train"], images["validation"], recipe.train, seed, compute):
        pass
    return measure(classifier, images["validation"])[1], measure(classifier, images["test"])[1]


def summary(accuracies: NDArray[np.float64]) -> str:
    """Mean, standard deviation between seeds, and the 95 % interval of the mean (Student's t)."""
    if len(accuracies) < 2:
        return f"{len(accuracies)} seeds: a spread needs two"
    low, high = mean_interval(accuracies)
    spread = accuracies.std(ddof=1)
    return (
        f"{100 * accuracies.mean():.2f} % ± {100 * spread:.2f} (standard deviation of {len(accuracies)} seeds), "
        f"95 % interval of the mean {100 * low:.2f} to {100 * high:.2f} %"
    )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.2%}"


if __name__ == "__main__":
    command(main)
