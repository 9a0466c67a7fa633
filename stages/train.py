"""train: prepared images → the model, how its training went, and an MLflow run.

python -m stages.train
torchrun --nnodes 2 --nproc-per-node 4 … -m stages.train      on several machines
"""

from src import tracking
from src.compute import distributed
from src.compute.device import threads
from src.compute.forward import logits
from src.core import paths
from src.core.files import check_writable, digest, write_arrays
from src.data.verify import verifying
from src.evaluation import tables
from src.evaluation.predictions import predictions
from src.models.classifier import Probabilities
from src.models.file import save
from src.params import load
from src.tracking.identity import training_key
from src.training import augment, record
from src.training.loop import LESS_MEMORY
from src.training.progress import Progress
from src.training.snapshots import Snapshots
from src.training.state import Resumable
from src.training.trainer import Trainer
from stages import run

PREVIEWS = 24  # the original and 23 draws


def main() -> None:
    distributed.launch(work, load().train.processes)


def work() -> None:
    """What each of the processes does; the first one alone writes and logs."""
    params = load()
    check_writable(paths.MODEL.parent, paths.REPORTS)
    progress = Progress()
    trainer = Trainer(params.model, params.train, "train", "validation")
    training = trainer.start(params.model, params.train, params.seed, progress)
    images, classifier = trainer.images, training.classifier
    with distributed.process_group(trainer.compute.device):
        environment = record.environment(trainer.compute, threads(params.train, params.model.name))
        snapshots = Snapshots(classifier.network)
        state = Resumable(training_key(params, environment), progress, snapshots)
        if distributed.rank() > 0:
            state.beside()
            list(training.epochs)
            return
        with state.alone(), tracking.training_run(params, state.session) as run:
            print(f"training {params.model.name} on {len(images['train']):,} images, {trainer.compute}")
            run.set_tags({name: environment[name] for name in ("device", "precision", "threads", "processes")})
            with verifying(trainer.dataset, "train", "validation") as reading:
                state.follow(
                    reading.before(training.epochs), lambda epoch: run.log_epoch(epoch.number, epoch.metrics())
                )

            save(paths.MODEL, classifier, training.spec)
            snapshots.save(paths.SNAPSHOTS)
            shown = augment.preview(params.train.augment, images["train"].images[0], PREVIEWS, params.seed)
            write_arrays(paths.AUGMENTATION, images=shown)
            record.write(progress.epochs, classifier.network, environment)
            outputs = logits(classifier, images["validation"]).cpu().numpy()
            names = trainer.dataset.splits["validation"].names
            table = predictions(outputs, images["validation"].labels.cpu().numpy(), names, trainer.dataset.classes)
            tables.write(paths.VALIDATION_PREDICTIONS, table)

            run.log_model(Probabilities(classifier), images["train"].images[:2], paths.MODEL)
            for file in (*record.FILES, paths.VALIDATION_PREDICTIONS):
                run.log_artifact(file, "reports")
            state.finish(digest(paths.MODEL))


if __name__ == "__main__":
    run(main, LESS_MEMORY)
