"""evaluate: the chosen model on the test images → metrics, predictions, accuracy by class, group and corruption.

    python -m stages.evaluate

The temperature that calibrates was fitted by `train`, on validation images. Without test images (`split.test: 0` and no
official test set) metrics say `images: 0` and the tables have no accuracies.
"""

from src.compute import device
from src.compute.batches import Batches
from src.compute.forward import logits
from src.core import paths
from src.core.files import write_arrays
from src.data.prepared import open_split, read_copies, read_dataset, read_identity, read_names
from src.evaluation import metric_files, tables
from src.evaluation.classes import confusion, per_class, per_group
from src.evaluation.metrics import measure, unseen_accuracy
from src.evaluation.predictions import predictions
from src.evaluation.reliability import calibrated_metrics, reliability
from src.evaluation.robustness import headline, robustness
from src.evaluation.tta import tta_metrics
from src.models.model_file import load as load_model
from src.params import load
from stages import run


def main() -> None:
    params = load()
    dataset = read_dataset()
    classifier, spec = load_model(paths.MODEL)
    spec.check(dataset)
    compute = device.prepare(params.train, params.model.name)
    classifier = compute.place(classifier)
    test = Batches(open_split("test"), compute.device)
    outputs, labels = logits(classifier, test).cpu().numpy(), test.labels.cpu().numpy()
    # The attack needs gradients, for which a training batch is known to leave memory enough.
    batch_size = min(params.train.batch_size, device.evaluation_batch(test.device, test.image_shape))
    identity = read_identity("test")
    groups = identity.get("group")
    curves = robustness(classifier, test, params.evaluate.robustness, batch_size, groups)

    metrics = measure(outputs, labels, groups) | unseen_accuracy(outputs, labels, read_copies("test"), groups)
    metrics |= tta_metrics(classifier, test, params.evaluate.tta, compute, groups)
    metrics |= calibrated_metrics(outputs, labels, spec.temperature, groups)
    table = predictions(outputs, labels, read_names("test"), dataset.classes).assign(**identity)
    written = {
        paths.PREDICTIONS: table,
        paths.PER_CLASS: per_class(table, dataset.classes),
        paths.CONFUSION: confusion(table, dataset.classes),
        paths.GROUPS: per_group(table),
        paths.CALIBRATION: reliability(outputs, labels, spec.temperature),
        paths.ROBUSTNESS: curves,
    }
    write_arrays(paths.LOGITS, logits=outputs)
    metric_files.write(metrics, headline(curves))
    for path, content in written.items():
        tables.write(path, content)
    print(f"test accuracy: {metric_files.accuracy_sentence(metrics)}")


if __name__ == "__main__":
    run(main, "reduce train.batch_size or data.image_size")
