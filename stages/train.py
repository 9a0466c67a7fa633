"""train: prepared images → the model, how its training went, and an MLflow run.

python -m stages.train
"""

import torch

from src import paths, tracking
from src.atomic import check_writable, digest, write_arrays, write_json
from src.compute import device
from src.compute.batches import Batches
from src.compute.forward import logits
from src.data.prepared import open_split, read_dataset
from src.evaluation import tables
from src.evaluation.predictions import predictions
from src.faults import command
from src.models.classifier import Probabilities
from src.models.file import Card, save
from src.params import load
from src.tracking.identity import training_key
from src.training import augment, record
from src.training.loop import train
from src.training.progress import Progress
from src.training.snapshots import Snapshots
from src.training.state import Resumable

PREVIEWS = 24  # the original and 23 draws


def main() -> None:
    params = load()
    dataset = read_dataset()
    check_writable(paths.MODEL.parent, paths.REPORTS)
    compute = device.prepare(params.train)
    training, validation = (Batches(open_split(split), compute.device) for split in ("train", "validation"))
    torch.manual_seed(params.seed)
    card = Card(model=params.model, classes=dataset.classes, image=dataset.image, mean=dataset.mean, std=dataset.std)
    classifier = card.build()
    print(f"training {params.model.name} on {len(training):,} images, {compute}")

    environment = record.environment(compute, params.train.threads)
    progress, snapshots = Progress(), Snapshots(classifier.network)
    state = Resumable(training_key(params, environment), progress, snapshots)
    with state.alone(), tracking.training_run(params, state.session) as run:
        run.set_tags({name: environment[name] for name in ("device", "precision", "threads")})
        epochs = train(classifier, training, validation, params.train, params.seed, compute, progress)
        state.follow(epochs, lambda epoch: run.log_epoch(epoch.number, epoch.metrics()))

        save(paths.MODEL, classifier, card)
        snapshots.save(paths.SNAPSHOTS)
        shown = augment.preview(params.train.augment, open_split("train").images[0], PREVIEWS, params.seed)
        write_arrays(paths.AUGMENTATION, images=shown)
        tables.write(paths.HISTORY, record.history(progress.epochs))
        tables.write(paths.STEPS, record.steps(progress.epochs))
        write_json(paths.TRAINING, record.summary(progress.epochs, classifier.network))
        write_json(paths.ENVIRONMENT, environment)
        outputs = logits(classifier, validation, compute).cpu().numpy()
        names = dataset.splits["validation"].names
        table = predictions(outputs, validation.labels.cpu().numpy(), names, dataset.classes)
        tables.write(paths.VALIDATION_PREDICTIONS, table)

        run.log_model(Probabilities(classifier), open_split("train").images[:2], paths.MODEL)
        for file in (paths.HISTORY, paths.STEPS, paths.TRAINING, paths.ENVIRONMENT, paths.VALIDATION_PREDICTIONS):
            run.log_artifact(file, "reports")
        state.finish(digest(paths.MODEL))


if __name__ == "__main__":
    command(main)
