"""Tell how much of a result is luck: train the present recipe with other seeds, on the same split of the data.

    python -m src.seeds --runs 5
    python -m src.seeds --runs 5 --workers 4

Each run adds a row to `reports/seeds.csv`: seed, digest of recipe and data, validation and test accuracy. Rows of other
digests stay as they are; a seed that is there already is not run again.
"""

import argparse
from itertools import count, islice
from typing import TYPE_CHECKING

from src.compute import portable

if __name__ == "__main__":
    portable.begin()

import numpy as np
import pandas
from numpy.typing import NDArray

from src.core.dvc import run_split
from src.core.errors import UserError, command
from src.core.paths import SEEDS
from src.core.words import counted
from src.data.prepared import SPLITS
from src.evaluation import tables
from src.params import load
from src.search.messages import Outcome, Task
from src.search.workers import Worker, WorkerPool
from src.stats.intervals import mean_interval
from src.tracking import identity

if TYPE_CHECKING:
    from src.training.trainer import Trainer, Training

COLUMNS = ["seed", "recipe", "validation_accuracy", "test_accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how many more seeds to train (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes that train (default: one for each GPU, or one)")
    arguments = parser.parse_args()
    for name, value in {"--runs": arguments.runs, "--workers": arguments.workers}.items():
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}: must be at least 1")
    recipe = load()
    run_split()
    key = identity.recipe_digest(recipe, identity.data_digest())
    table = tables.read(SEEDS) if SEEDS.exists() else pandas.DataFrame(columns=COLUMNS)
    known = set(table[table["recipe"] == key]["seed"])
    print(f"recipe {key}: {len(known)} seeds known, {arguments.runs} more")
    # Of a list, since the threads of several workers share it.
    new = iter([*islice((seed for seed in count() if seed not in known), arguments.runs)])

    def train(worker: Worker) -> tuple[int, Outcome] | None:
        seed = next(new, None)
        return None if seed is None else (seed, worker.train(Task(recipe.model, recipe.train, seed)))

    with WorkerPool(recipe, SPLITS, accuracies, arguments.workers) as workers:
        for seed, outcome in workers.each(train):
            if outcome.reason:
                raise UserError(f"seed {seed}: {outcome.reason}")
            validation, test = outcome.measured["validation"], outcome.measured["test"]
            row = pandas.DataFrame([[seed, key, validation, test]], columns=COLUMNS)
            table = pandas.concat([table, row]) if len(table) else row
            tables.write(SEEDS, table)  # at once, so that nothing is lost when a later run is stopped
            print(f"seed {seed}: validation {_percent(validation)}, test {_percent(test)}", flush=True)
    own = table[table["recipe"] == key]
    for split in ("validation", "test"):
        print(f"{split:<11}{summary(own[f'{split}_accuracy'].dropna().to_numpy(dtype=np.float64))}")


def accuracies(trainer: "Trainer", training: "Training") -> dict[str, float | None]:
    """Return the accuracies of the kept weights; None where a split has no images."""
    from src.training.loop import measure  # torch, in a worker alone

    validation, test = (training.learned, training.validation), (training.classifier, trainer.images["test"])
    return {"validation": measure(*validation)[1], "test": measure(*test)[1]}


def summary(accuracies: NDArray[np.float64]) -> str:
    """Return mean, standard deviation between seeds, and the 95 % interval of the mean (Student's t, within 0 to 1)."""
    if len(accuracies) < 2:
        return f"{counted(len(accuracies), 'seed')}: a spread needs two"
    if np.ptp(accuracies) == 0:  # their spread is less than an image, but not 0
        return f"{100 * accuracies[0]:.2f} % with each of {len(accuracies)} seeds"
    low, high = np.clip(mean_interval(accuracies), 0, 1)
    spread = accuracies.std(ddof=1)
    return (
        f"{100 * accuracies.mean():.2f} % ± {100 * spread:.2f} (standard deviation of {len(accuracies)} seeds), "
        f"95 % interval of the mean {100 * low:.2f} to {100 * high:.2f} %"
    )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.2%}"


if __name__ == "__main__":
    command(main)
