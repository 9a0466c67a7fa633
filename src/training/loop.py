"""The training loop: a generator that yields one result per epoch, so that whoever drives it decides what to do."""

import functools
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from tqdm import tqdm

from src import params
from src.compute.batches import Batches
from src.compute.device import Compute
from src.compute.forward import logits
from src.faults import Fault
from src.models.classifier import Classifier
from src.training import augment
from src.training.learner import Learner
from src.training.losses import Target
from src.training.progress import Progress, Watch
from src.training.results import Epoch, Errors
from src.training.schedules import lr_factor


def train(
    classifier: Classifier,
    training: Batches,
    validation: Batches,
    section: params.Train,
    seed: int,
    compute: Compute,
    progress: Progress | None = None,
) -> Iterator[Epoch]:
    """Trains `classifier` and yields after each epoch; when exhausted, the classifier has the best epoch's weights.

    Best is the highest validation accuracy, at equal accuracy the lowest validation loss; without validation images it
    is the last epoch. Where `section.ema` is set, the moving average of the weights is what is validated and kept.
    Shuffling, augmentation and dropout of an epoch are a function of (seed, epoch) alone. `progress`: where an
    interrupted training of the same arguments stood, whose next epoch is then the first one; it is kept up to date.
    Raises `Fault` when the loss is no longer finite, or memory does not suffice.
    """
    augment.check(section.augment, training.images.shape[3])
    learner = Learner(classifier, section, training.labels, compute)
    progress = progress or Progress()
    progress.start(learner)
    for number in range(len(progress.epochs) + 1, section.epochs + 1):
        if section.patience is not None and len(progress.epochs) - progress.best_epoch >= section.patience:
            break
        if cuda := compute.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(compute.device)
        started = time.perf_counter()
        try:
            loss, accuracy, steps = _train_epoch(learner, training, validation, seed, number, progress.losses)
            trained = time.perf_counter()
            validation_loss, validation_accuracy = measure(learner.kept, validation, compute)
        except torch.OutOfMemoryError:
            raise Fault(f"{compute.device} is out of memory: reduce train.batch_size or data.image_size") from None
        lr = learner.optimiser.param_groups[0]["lr"]
        for which, value in ("training", loss), ("validation", validation_loss):
            if value is not None and not np.isfinite(value):
                rerun = functools.partial(_train_epoch, learner, training, validation, seed, number, progress.losses)
                raise Fault(f"the {which} loss became {value} in epoch {number}{progress.cause(rerun, lr)}")

        best = progress.is_best(number, validation_loss, validation_accuracy)
        epoch = Epoch(
            number=number,
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            lr=lr,
            best=best,
            seconds=time.perf_counter() - started,
            images_per_second=len(training) / (trained - started),
            peak_gpu_memory_gib=torch.cuda.max_memory_allocated(compute.device) / 2**30 if cuda else None,
            steps=steps,
        )
        progress.add(epoch)
        yield epoch
    classifier.load_state_dict(progress.best_weights or learner.kept.state_dict())
    classifier.eval()


def _train_epoch(
    learner: Learner,
    training: Batches,
    validation: Batches,
    seed: int,
    number: int,
    losses: Sequence[float],
    watch: Watch | None = None,
) -> tuple[float, float, list[Errors]]:
    """One pass over the training images: mean loss, accuracy, and the error rates at the steps that are recorded.

    One transfer to the host at its end, and one at every record.
    """
    section, compute = learner.section, learner.compute
    generator = _seed_epoch(seed, number)
    order = torch.randperm(len(training), generator=generator)
    if len(order) > 1 and len(order) % learner.part_size == 1:
        order = order[:-1]  # batch norm cannot learn from a single image; another one is left out next time
    height, width = training.images.shape[1:3]
    draws = augment.draw(section.augment, len(order), (height, width), generator).to(compute.device)
    steps = -(-len(order) // section.batch_size)
    total = torch.zeros((), device=compute.device)
    correct = torch.zeros((), device=compute.device, dtype=torch.int64)
    seen, recorded, records = 0, (0, 0), []

    learner.classifier.train()
    batches = zip(training.take(order, section.batch_size), draws.split(section.batch_size), strict=True)
    bar = tqdm(total=len(order), desc=f"epoch {number}/{section.epochs}", unit=" images", leave=False, disable=None)
    with bar:
        for step, ((images, labels), batch_draws) in enumerate(batches, start=1):
            # The middle of the step: a warm-up then starts above 0 and a new epoch's rate with the new epoch.
            moment = number - 1 + (step - 0.5) / steps
            lr = section.optimizer.lr * lr_factor(section.schedule, moment, section.epochs, losses)
            images, mix = augment.apply(section.augment, images, batch_draws)
            step_of_all = (number - 1) * steps + step
            loss, right = learner.step(images, Target.of(labels, mix), lr, step_of_all)
            if watch is not None:
                watch(step, loss, lr)
            total += loss * len(labels)
            correct += right
            seen += len(labels)
            bar.update(len(labels))
            if section.record_every and step_of_all % section.record_every == 0:
                now = int(correct.item()), seen
                train_error = 1 - (now[0] - recorded[0]) / (now[1] - recorded[1])
                accuracy = measure(learner.kept, validation, compute)[1]
                learner.classifier.train()
                records.append(Errors(step_of_all, number, train_error, None if accuracy is None else 1 - accuracy))
                recorded = now
    return total.item() / len(order), correct.item() / len(order), records


def _seed_epoch(seed: int, number: int) -> Generator:
    """Sets torch's global random state (dropout) from (seed, epoch) and returns a generator for all other draws.

    Neighbouring seeds and epochs give unrelated numbers: numpy's `SeedSequence` mixes them.
    """
    dropout, draws = np.random.SeedSequence([seed, number]).generate_state(2)
    torch.manual_seed(int(dropout))
    return torch.Generator().manual_seed(int(draws))


def measure(classifier: Classifier, images: Batches, compute: Compute) -> tuple[float | None, float | None]:
    """Mean cross entropy of the softmax probabilities in nats and accuracy; None for both where there are no images."""
    if not len(images):
        return None, None
    outputs = logits(classifier, images, compute)
    labels: Tensor = images.labels.to(compute.device)
    loss = F.cross_entropy(outputs, labels).item()
    return loss, (outputs.argmax(dim=1) == labels).float().mean().item()
