"""train: prepared images → the model, the history of its training, and an MLflow run.

python -m stages.train
torchrun --nnodes 2 --nproc-per-node 4 … -m stages.train      on several machines
"""

from src.compute import distributed
from src.compute.forward import latency, logits
from src.compute.threads import cpu_threads
from src.core import paths
from src.core.files import check_writable, digest, write_arrays
from src.data.prepared import read_identity, read_names
from src.evaluation import tables
from src.evaluation.calibration import calibrated
from src.evaluation.predictions import predictions
from src.models.model_file import save
from src.params import load
from src.tracking import cost
from src.tracking.identity import training_key
from src.tracking.live import live
from src.training import augment, reports
from src.training.resume import Progress, Resumable
from src.training.snapshots import Snapshots
from src.training.trainer import LESS_MEMORY, Trainer
from stages import run

PREVIEWS = 24  # an image as it is, and augmented 23 times


def main() -> None:
    distributed.launch(work, load().train.processes, less_memory=LESS_MEMORY)


def work() -> None:
    """Train in each of the processes; the first one alone writes and logs."""
    params = load()
    check_writable(paths.MODEL.parent, paths.REPORTS, paths.costs())
    progress = Progress()
    trainer = Trainer(params.model, params.train, "train", "validation")
    training = trainer.start(params.model, params.train, params.seed, progress)
    images, classifier = trainer.images, training.classifier
    with distributed.process_group(trainer.compute.device):
        environment = reports.environment(trainer.compute, cpu_threads(params.train, params.model.name))
        snapshots = Snapshots(classifier.network)
        state = Resumable(training_key(params, environment), progress, snapshots, params.train.save_minutes)
        if distributed.rank() > 0:
            state.restore()
            list(training.epochs)
            return
        with state.alone(), live(state.session) as run:
            resumed = bool(progress.epochs or progress.unfinished.segments)
            print(f"training {params.model.name} on {len(images['train']):,} images, {trainer.compute}")
            state.follow(training.epochs, run.log_epoch)

            outputs = logits(training.learned, training.validation).cpu().numpy()
            labels, names = images["validation"].labels.cpu().numpy(), read_names("validation")
            spec = calibrated(training.spec, outputs, labels)
            save(paths.MODEL, classifier, spec)
            snapshots.save(paths.SNAPSHOTS)
            shown = augment.preview(params.train.augment, images["train"].images[0], PREVIEWS, params.seed)
            write_arrays(paths.AUGMENTATION, images=shown)
            reports.write(progress.epochs, classifier.network, environment)
            table = predictions(outputs, labels, names, trainer.dataset.classes)
            tables.write(paths.VALIDATION_PREDICTIONS, table.assign(**read_identity("validation")))

            model_md5 = digest(paths.MODEL)
            state.finish(model_md5)
            run.log_model_md5(model_md5)
            if not resumed:  # else the costs would be those of a part of the training
                cost.write(model_md5, environment, progress.epochs, latency(classifier, images["validation"]))


if __name__ == "__main__":
    run(main, LESS_MEMORY)
