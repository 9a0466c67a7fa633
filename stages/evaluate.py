"""evaluate: the chosen model on the test images → metrics, predictions, accuracy by class, confusions.

    python -m stages.evaluate

Without test images (`split.test: 0` and no official test set) metrics say `images: 0` and the tables are empty.
"""

import numpy as np

from src import paths, tracking
from src.atomic import write_json
from src.compute import device
from src.compute.batches import Batches
from src.compute.forward import logits
from src.data.prepared import open_split, read_dataset
from src.evaluation import tables
from src.evaluation.classes import confusion, per_class
from src.evaluation.metrics import measure
from src.evaluation.predictions import predictions
from src.faults import command
from src.models.file import load as load_model
from src.params import load


def main() -> None:
    params = load()
    dataset = read_dataset()
    compute = device.prepare(params.train)
    classifier, _ = load_model(paths.MODEL)
    test = open_split("test")
    outputs = logits(classifier.to(compute.device), Batches(test, compute.device), compute).cpu().numpy()
    labels = np.array(test.labels)

    metrics = measure(outputs, labels)
    table = predictions(outputs, labels, dataset.splits["test"].names, dataset.classes)
    write_json(paths.METRICS, metrics)
    tables.write(paths.PREDICTIONS, table)
    tables.write(paths.PER_CLASS, per_class(table, dataset.classes))
    tables.write(paths.CONFUSION, confusion(table, dataset.classes))
    if metrics["images"]:
        value, low, high = (100 * metrics[f"accuracy{end}"] for end in ("", "_ci_low", "_ci_high"))
        print(f"test: {value:.2f} % of {metrics['images']:,} images right (95 % interval {low:.2f} to {high:.2f} %)")
    else:
        print("test: there are no test images (split.test is 0)")

    with tracking.attach(paths.MODEL, "evaluate", {}) as run:
        run.log_metrics({f"test_{name}": value for name, value in metrics.items()})
        for file in (paths.METRICS, paths.PREDICTIONS, paths.PER_CLASS, paths.CONFUSION):
            run.log_artifact(file, "reports")


if __name__ == "__main__":
    command(main)
