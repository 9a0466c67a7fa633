"""train: prepared images → the model, how its training went, and an MLflow run.

python -m stages.train
torchrun --nnodes 2 --nproc-per-node 4 … -m stages.train      on several machines
"""

from tqdm import tqdm

from src import paths, tracking
from src.atomic import check_writable, write_arrays
from src.compute import device, processes
from src.compute.batches import Batches
from src.compute.forward import logits
from src.data.prepared import open_split, read_dataset
from src.evaluation import tables
from src.evaluation.predictions import predictions
from src.faults import command
from src.models.classifier import Probabilities
from src.models.file import Card, save
from src.params import load
from src.training import augment, record
from src.training.loop import train
from src.training.snapshots import Snapshots

PREVIEWS = 24  # the original and 23 draws


def main() -> None:
    processes.launch(work, load().train.processes)


def work() -> None:
    """What each of the processes does; the first one alone writes and logs."""
    params = load()
    dataset = read_dataset()
    check_writable(paths.MODEL.parent, paths.REPORTS)
    compute = device.prepare(params.train, params.model.name)
    training, validation = (Batches(open_split(split), compute.device) for split in ("train", "validation"))
    card = Card.of(params.model, dataset)
    classifier = card.build(params.seed)
    with processes.joined(compute.device):
        progress = train(classifier, training, validation, params.train, params.seed, compute)
        if processes.number() > 0:
            list(progress)
            return
        print(f"training {params.model.name} on {len(training):,} images, {compute}")
        environment = record.environment(compute, params.train.threads)
        with tracking.training_run(params) as run:
            run.set_tags({name: environment[name] for name in ("device", "precision", "threads", "processes")})
            epochs = []
            snapshots = Snapshots(classifier.network)
            for epoch in progress:
                epochs.append(epoch)
                snapshots.take(epoch.number)
                run.log_epoch(epoch.number, epoch.metrics())
                tqdm.write(str(epoch))

            save(paths.MODEL, classifier, card)
            snapshots.save(paths.SNAPSHOTS)
            shown = augment.preview(params.train.augment, open_split("train").images[0], PREVIEWS, params.seed)
            write_arrays(paths.AUGMENTATION, images=shown)
            record.write(epochs, classifier.network, environment)
            outputs = logits(classifier, validation, compute).cpu().numpy()
            names = dataset.splits["validation"].names
            table = predictions(outputs, validation.labels.cpu().numpy(), names, dataset.classes)
            tables.write(paths.VALIDATION_PREDICTIONS, table)

            run.log_model(Probabilities(classifier), open_split("train").images[:2], paths.MODEL)
            for file in (*record.FILES, paths.VALIDATION_PREDICTIONS):
                run.log_artifact(file, "reports")


if __name__ == "__main__":
    command(main)
