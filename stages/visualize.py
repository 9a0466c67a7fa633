"""visualize: data, history, predictions and weights → every picture in reports/figures. Needs no torch.

python -m stages.visualize
"""

import json

from src import paths, tracking
from src.data.prepared import SPLITS, open_split, read_dataset
from src.evaluation import tables
from src.faults import command
from src.figures.curves import learning_curves
from src.figures.data import class_distribution, samples
from src.figures.mistakes import confident_mistakes, sample_predictions
from src.figures.network import first_kernels, kernels
from src.figures.results import confusion_matrix, per_class_accuracy
from src.params import load


def main() -> None:
    params = load()
    dataset = read_dataset()
    training, test = open_split("train"), open_split("test")
    kept_epoch = json.loads(paths.TRAINING.read_text(encoding="utf-8"))["best_epoch"]
    predictions = tables.read(paths.PREDICTIONS)
    counts = {split: [dataset.splits[split].per_class[name] for name in dataset.classes] for split in SPLITS}
    figures = paths.FIGURES

    samples(figures / "samples.png", training.images, training.labels, dataset.classes, params.visualize.samples)
    class_distribution(figures / "class_distribution.png", counts, dataset.classes)
    learning_curves(figures / "learning_curves.png", tables.read(paths.HISTORY), kept_epoch)
    confusion_matrix(figures / "confusion_matrix.png", tables.read(paths.CONFUSION), dataset.classes)
    per_class_accuracy(figures / "per_class_accuracy.png", tables.read(paths.PER_CLASS))
    sample_predictions(figures / "predictions.png", test.images, predictions, params.visualize.samples)
    confident_mistakes(figures / "mistakes.png", test.images, predictions, params.visualize.mistakes)
    kernels(figures / "kernels.png", first_kernels(paths.MODEL, dataset.image.channels))
    print(f"figures: {len(list(figures.glob('*.png')))} pictures in {figures}")

    with tracking.attach(paths.MODEL, "visualize", params.visualize.model_dump()) as run:
        run.log_artifact(figures, "reports")


if __name__ == "__main__":
    command(main)
