"""Two recipes, or one with two settings, trained with the same seeds on the same division: what is the difference?

    python -m benchmarks.compare cifar10-vgg cifar10-vgg-modern --seeds 3 --set split.validation=0.1 data.limit=10000
    python -m benchmarks.compare mnist:train.precision=float32 mnist:train.precision=bfloat16 --seeds 5

`--set` changes both, what stands behind a colon that one. Trains by `python -m src.seeds` in a copy of the repository,
and keeps validation accuracies and the mean of their differences, paired by seed, with its 90 % interval (Student's t)
in `benchmarks/compare.json`. Test images are not looked at: recipes are chosen by this.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import hardware, keep, versions
from benchmarks.pipeline import ROOT, clean_environment, cloned, configure
from benchmarks.systems import ARCHIVES
from src.core.paths import SEEDS
from src.evaluation import tables
from src.stats.intervals import mean_interval

RESULTS = ROOT / "benchmarks/compare.json"
LEVEL = 0.9  # both one-sided 5 % tests of equivalence are passed where this interval lies within the margin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs=2, metavar="recipe[:KEY=VALUE,…]")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="parameters to change in both")
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"), help="folder of the archives")
    arguments = parser.parse_args()
    accuracies = compare(arguments.variants, arguments.set, arguments.seeds, arguments.data.resolve())
    first, second = (np.array(accuracies[variant]) for variant in arguments.variants)
    differences = second - first
    low, high = mean_interval(differences, LEVEL)
    result = {
        "variants": arguments.variants,
        "changed": arguments.set,
        "seeds": arguments.seeds,
        "validation_accuracy": accuracies,
        "difference": [round(float(number), 6) for number in (differences.mean(), low, high)],
        "hardware": hardware(),
        "versions": versions("torch"),
    }
    keep(RESULTS, result, same=("variants", "changed"))
    for variant, values in accuracies.items():
        print(f"{variant}: mean {np.mean(values):.2%} ({', '.join(f'{value:.2%}' for value in values)})")
    print(f"difference {100 * differences.mean():+.2f} points, 90 % interval {100 * low:+.2f} to {100 * high:+.2f}")


def compare(variants: list[str], changes: list[str], seeds: int, data: Path) -> dict[str, list[float]]:
    """Validation accuracies by variant, in the order of the seeds."""
    accuracies = {}
    with tempfile.TemporaryDirectory() as temporary:
        clone = cloned(Path(temporary, "clone"), "digits", [])  # one for both: what they share is prepared once
        for variant in variants:
            recipe, _, own = variant.partition(":")
            archive = data / next(name for system, name in ARCHIVES.items() if recipe.startswith(system))
            configure(clone, recipe, [f"data.source={archive}", *changes, *filter(None, own.split(","))])
            (clone / SEEDS).unlink(missing_ok=True)
            subprocess.run(
                ["python", "-m", "src.seeds", "--runs", str(seeds)], cwd=clone, env=clean_environment(), check=True
            )
            accuracies[variant] = tables.read(clone / SEEDS)["validation_accuracy"].tolist()
    return accuracies


if __name__ == "__main__":
    main()
