"""The tutorials' systems with their published settings, each trained once through `dvc repro`: published against ours.

    python -m benchmarks.systems                                    all five, in full
    python -m benchmarks.systems cifar10-basic --epochs 3           fewer epochs: its row says so
    python -m benchmarks.systems dogs-vs-cats --set model.weights=none

Adds accuracies with 95 % intervals, seconds, hardware, versions and seed to `benchmarks/systems.json`. The images come
from the archives in the folder `--data`.
"""

import json
from pathlib import Path
from typing import Any

import pandas

from benchmarks import pipeline
from benchmarks.common import DATA, FOLDER, command_line, hardware, keep, versions
from benchmarks.problems import SYSTEMS, archive_of
from src.core.errors import command
from src.core.paths import DATASET, ENVIRONMENT, METRICS, PREDICTIONS, TRAINING, VALIDATION_PREDICTIONS
from src.evaluation import tables
from src.evaluation.classes import per_class
from src.params.writing import load_recipe
from src.stats.intervals import wilson

RESULTS = FOLDER / "systems.json"


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("recipes", nargs="*", metavar="recipe", help=f"of {', '.join(SYSTEMS)} (default: all)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter to change")
    arguments = parser.parse_args()
    changed = [*([f"train.epochs={arguments.epochs}"] if arguments.epochs else []), *arguments.set]
    for recipe in arguments.recipes or SYSTEMS:
        archive = archive_of(recipe, arguments.data)
        stages, reached = pipeline.run(recipe, [f"data.source={archive}", *changed], read)
        result = {
            "recipe": recipe,
            "changed": changed,
            "seed": load_recipe(recipe).seed,
            "recipe_epochs": load_recipe(recipe).train.epochs,
            **reached,
            "seconds": {name: round(stages[name][0], 1) for name in ("train", "all, by dvc repro")},
            "hardware": hardware(),
            "versions": versions("torch", "torchvision"),
        }
        keep(RESULTS, result, same=("recipe", "changed"))
        print(json.dumps(result), flush=True)


def read(clone: Path) -> dict[str, Any]:
    """Read what the run in `clone` reached on validation and test, over all images and by class."""
    training, metrics, dataset, environment = (
        json.loads((clone / path).read_text(encoding="utf-8")) for path in (TRAINING, METRICS, DATASET, ENVIRONMENT)
    )
    validation, test = (tables.read(clone / path) for path in (VALIDATION_PREDICTIONS, PREDICTIONS))
    return {
        "precision": environment["precision"],
        "epochs": training["epochs"],
        "validation": accuracies(validation, dataset["classes"], training["validation_loss"]),
        "test": accuracies(test, dataset["classes"], metrics["loss"]),
    }


def accuracies(table: pandas.DataFrame, classes: list[str], loss: float | None) -> dict[str, Any] | None:
    """Return accuracy with its Wilson interval, over all images and by class; None where there are no images."""
    if not len(table):
        return None
    correct = int((table["label"] == table["prediction"]).sum())
    rows = per_class(table, classes).to_dict("records")
    return {
        "loss": loss,
        "accuracy": [round(float(value), 6) for value in (correct / len(table), *wilson(correct, len(table)))],
        "classes": {row["class"]: [round(row[key], 6) for key in ("accuracy", "ci_low", "ci_high")] for row in rows},
    }


if __name__ == "__main__":
    command(main)
