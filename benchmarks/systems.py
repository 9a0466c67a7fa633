"""The tutorials' systems with their published settings, each trained once through `dvc repro`: published against ours.

    python -m benchmarks.systems                                    every recipe below, in full
    python -m benchmarks.systems cifar10-basic --epochs 3           fewer epochs: its row says so
    python -m benchmarks.systems dogs-vs-cats --set model.weights=none

Adds accuracies with 95 % intervals, seconds, hardware, versions and seed to `benchmarks/systems.json` and writes
`benchmarks/README.md` anew. The images come from the archives in the folder `--data`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas

from benchmarks import pipeline, problems, report
from benchmarks.common import hardware, keep, versions
from src.core.paths import DATASET, ENVIRONMENT, METRICS, PARAMS, PREDICTIONS, TRAINING, VALIDATION_PREDICTIONS
from src.evaluation import tables
from src.evaluation.classes import per_class
from src.params import parse
from src.params.writing import load_recipe
from src.stats.intervals import wilson

ARCHIVES = {
    "mnist": problems.ARCHIVES["mnist"],
    "fashion-mnist": problems.ARCHIVES["fashion_mnist"],
    "cifar10-basic": problems.ARCHIVES["cifar10"],
    "cifar10-vgg": problems.ARCHIVES["cifar10"],
    "dogs-vs-cats": problems.ARCHIVES["image_folder"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="recipe", help=f"of {', '.join(ARCHIVES)} (default: all)")
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"), help="folder of the archives")
    parser.add_argument("--epochs", type=int, help="instead of the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter to change")
    arguments = parser.parse_args()
    if unknown := set(arguments.recipes) - set(ARCHIVES):
        parser.error(f"{', '.join(sorted(unknown))}: must be of {', '.join(ARCHIVES)}")
    changed = [*([f"train.epochs={arguments.epochs}"] if arguments.epochs else []), *arguments.set]
    for recipe in arguments.recipes or ARCHIVES:
        archive = arguments.data / ARCHIVES[recipe]
        stages = pipeline.run(recipe, [f"data.source={archive}", *changed], measured)
        result = {
            "recipe": recipe,
            "changed": changed,
            "archive": archive.name,
            "recipe_epochs": load_recipe(recipe).train.epochs,
            **stages["results"],
            "seconds": {name: round(stages[name][0], 1) for name in ("train", "all, by dvc repro")},
            "hardware": hardware(),
            "versions": versions("torch", "torchvision"),
        }
        keep(report.SYSTEMS, result, same=("recipe", "changed"))
        report.write()
        print("\n".join(report.of_system(recipe, [result])), flush=True)


def measured(clone: Path) -> dict[str, Any]:
    """What the run in `clone` was and reached: on validation and test, over all images and by class."""
    params = parse((clone / PARAMS).read_text(encoding="utf-8"), str(PARAMS))
    training = json.loads((clone / TRAINING).read_text(encoding="utf-8"))
    metrics = json.loads((clone / METRICS).read_text(encoding="utf-8"))
    classes = json.loads((clone / DATASET).read_text(encoding="utf-8"))["classes"]
    splits = {
        "validation": accuracies(tables.read(clone / VALIDATION_PREDICTIONS), classes, training["validation_loss"]),
        "test": accuracies(tables.read(clone / PREDICTIONS), classes, metrics["loss"]),
    }
    return {
        "seed": params.seed,
        "precision": json.loads((clone / ENVIRONMENT).read_text(encoding="utf-8"))["precision"],
        "epochs": training["epochs"],
        "best_epoch": training["best_epoch"],
        "parameters": training["parameters"],
        "size_mib": training["size_mib"],
        **splits,
    }


def accuracies(table: pandas.DataFrame, classes: list[str], loss: float | None) -> dict[str, Any] | None:
    """Accuracy with its Wilson interval, over all images and by class; None where there are no images."""
    if not len(table):
        return None
    correct = int((table["label"] == table["prediction"]).sum())
    low, high = wilson(correct, len(table))
    rows = per_class(table, classes)
    return {
        "images": len(table),
        "loss": loss,
        "accuracy": [round(float(value), 6) for value in (correct / len(table), low, high)],
        "classes": {
            row["class"]: [round(row[key], 6) for key in ("accuracy", "ci_low", "ci_high")]
            for row in rows.to_dict("records")
        },
    }


if __name__ == "__main__":
    main()
