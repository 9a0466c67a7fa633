"""train: prepared images → the model, how its training went, and an MLflow run.

python -m stages.train
torchrun --nnodes 2 --nproc-per-node 4 … -m stages.train      on several machines
"""

from src import tracking
from src.compute import device, distributed
from src.compute.batches import Batches
from src.compute.forward import logits
from src.core import paths
from src.core.files import check_writable, digest, write_arrays
from src.data.prepared import read_dataset
from src.data.verify import open_checked, verifying
from src.evaluation import tables
from src.evaluation.predictions import predictions
from src.models.classifier import Probabilities
from src.models.file import ModelSpec, save
from src.params import load
from src.tracking.identity import training_key
from src.training import augment, record
from src.training.loop import LESS_MEMORY, train
from src.training.progress import Progress
from src.training.snapshots import Snapshots
from src.training.state import Resumable
from stages import run

PREVIEWS = 24  # the original and 23 draws


def main() -> None:
    distributed.launch(work, load().train.processes)


def work() -> None:
    """What each of the processes does; the first one alone writes and logs."""
    params = load()
    dataset = read_dataset()
    check_writable(paths.MODEL.parent, paths.REPORTS)
    compute = device.prepare(params.train, params.model.name)
    arrays = open_checked(dataset, "train", "validation")
    training, validation = (Batches(split, compute.device) for split in arrays)
    spec = ModelSpec.of(params.model, dataset)
    classifier = spec.build(params.seed)
    with distributed.process_group(compute.device):
        environment = record.environment(compute, params.train.threads)
        progress, snapshots = Progress(), Snapshots(classifier.network)
        state = Resumable(training_key(params, environment), progress, snapshots)
        epochs = train(classifier, training, validation, params.train, params.seed, compute, progress)
        if distributed.rank() > 0:
            state.beside()
            list(epochs)
            return
        with state.alone(), tracking.training_run(params, state.session) as run:
            print(f"training {params.model.name} on {len(training):,} images, {compute}")
            run.set_tags({name: environment[name] for name in ("device", "precision", "threads", "processes")})
            with verifying(dataset, "train", "validation") as reading:
                state.follow(reading.before(epochs), lambda epoch: run.log_epoch(epoch.number, epoch.metrics()))

            save(paths.MODEL, classifier, spec)
            snapshots.save(paths.SNAPSHOTS)
            shown = augment.preview(params.train.augment, training.images[0], PREVIEWS, params.seed)
            write_arrays(paths.AUGMENTATION, images=shown)
            record.write(progress.epochs, classifier.network, environment)
            outputs = logits(classifier, validation).cpu().numpy()
            names = dataset.splits["validation"].names
            table = predictions(outputs, validation.labels.cpu().numpy(), names, dataset.classes)
            tables.write(paths.VALIDATION_PREDICTIONS, table)

            run.log_model(Probabilities(classifier), training.images[:2], paths.MODEL)
            for file in (*record.FILES, paths.VALIDATION_PREDICTIONS):
                run.log_artifact(file, "reports")
            state.finish(digest(paths.MODEL))


if __name__ == "__main__":
    run(main, LESS_MEMORY)
