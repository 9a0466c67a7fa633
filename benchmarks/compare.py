"""Two recipes, or one with two settings, trained with the same seeds on the same splits: what is the difference?

    python -m benchmarks.compare cifar10-vgg cifar10-vgg-modern --seeds 3 --set split.validation=0.1 data.limit=10000
    python -m benchmarks.compare mnist:train.precision=float32 mnist:train.precision=bfloat16 --seeds 5

`--set` changes both, what stands behind a colon that one. Trains by `python -m src.seeds` in a copy of the repository,
and keeps validation accuracies and the mean of their differences, paired by seed, with its 90 % interval (Student's t)
in `benchmarks/compare.json`. Test images are not looked at: recipes are chosen by this.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import DATA, FOLDER, command_line, hardware, keep, versions
from benchmarks.pipeline import clean_environment, cloned, configure
from benchmarks.problems import archive_of
from src.core.errors import command
from src.core.paths import SEEDS
from src.evaluation import tables
from src.stats.intervals import mean_interval

RESULTS = FOLDER / "compare.json"
LEVEL = 0.9  # both one-sided 5 % tests of equivalence are passed where this interval lies within the margin


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("variants", nargs=2, metavar="recipe[:KEY=VALUE,…]")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="parameters to change in both")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    arguments = parser.parse_args()
    accuracies = {}
    with tempfile.TemporaryDirectory() as temporary:
        clone = cloned(Path(temporary, "clone"), "digits", [])  # one for both: what they share is prepared once
        for variant in arguments.variants:
            recipe, _, own = variant.partition(":")
            source = f"data.source={archive_of(recipe, arguments.data)}"
            configure(clone, recipe, [source, *arguments.set, *filter(None, own.split(","))])
            (clone / SEEDS).unlink(missing_ok=True)
            seeds = [sys.executable, "-m", "src.seeds", "--runs", str(arguments.seeds)]
            subprocess.run(seeds, cwd=clone, env=clean_environment(), check=True)
            accuracies[variant] = tables.read(clone / SEEDS)["validation_accuracy"].tolist()
            print(f"{variant}: {accuracies[variant]}", flush=True)
    first, second = (np.array(accuracies[variant]) for variant in arguments.variants)
    differences = second - first
    found = [round(float(number), 6) for number in (differences.mean(), *mean_interval(differences, LEVEL))]
    result = {
        "variants": arguments.variants,
        "changed": arguments.set,
        "seeds": arguments.seeds,
        "validation_accuracy": accuracies,
        "difference": found,
        "hardware": hardware(),
        "versions": versions("torch"),
    }
    keep(RESULTS, result, same=("variants", "changed"))
    print(f"difference {found[0]:+.2%}, 90 % interval {found[1]:+.2%} to {found[2]:+.2%}")


if __name__ == "__main__":
    command(main)
