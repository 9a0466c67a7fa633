"""The training loop: a generator that yields one result per epoch, so that whoever drives it decides what to do."""

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from src import params
from src.compute import distributed
from src.compute.batches import Batches
from src.compute.device import Compute, augmented_values
from src.compute.forward import logits
from src.core.errors import UserError, out_of_memory
from src.models.classifier import Classifier
from src.models.whitening import fit_whitening
from src.training import augment
from src.training.losses import Target
from src.training.progress import Progress, Watch
from src.training.results import Epoch, Errors
from src.training.schedules import lr_factor
from src.training.step import TrainStep

Result = TypeVar("Result")

LESS_MEMORY = "reduce train.batch_size, raise train.accumulate or reduce data.image_size"


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
    Shuffling, augmentation and dropout of an epoch are a function of (seed, epoch) alone; a thread draws the first two
    for the next epoch meanwhile, so that a GPU does not wait for the host. Several processes that are `joined` train
    one model: each yields the same results. `progress`: where an interrupted training of the same arguments stood,
    whose next epoch is then the first one; it is kept up to date. Raises `UserError` when the loss is no longer
    finite, or memory does not suffice.
    """
    augment.check(section.augment, training.image_shape)
    fit_whitening(classifier, training.images)
    train_step = TrainStep(classifier, section, training.labels, compute)
    progress = progress or Progress()
    progress.start(train_step)
    draw = functools.partial(_draw_epoch, train_step, training, seed)
    for number, drawing in _one_ahead(draw, range(len(progress.epochs) + 1, section.epochs + 1)):
        if section.patience is not None and len(progress.epochs) - progress.best_epoch >= section.patience:
            break
        if cuda := compute.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(compute.device)
        started = time.perf_counter()
        try:
            drawn = drawing.result()
            loss, accuracy, steps = _train_epoch(train_step, training, validation, drawn, seed, number, progress.losses)
            trained = time.perf_counter()
            validation_loss, validation_accuracy = measure(train_step.kept, validation)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(f"{compute.device} is out of memory: {LESS_MEMORY}") from None
        lr = train_step.optimiser.param_groups[0]["lr"]
        for which, value in ("training", loss), ("validation", validation_loss):
            if value is not None and not np.isfinite(value):
                again = (train_step, training, validation, drawn, seed, number, progress.losses)
                rerun = functools.partial(_train_epoch, *again)
                raise UserError(f"the {which} loss became {value} in epoch {number}{progress.cause(rerun, lr)}")

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
    classifier.load_state_dict(progress.best_weights or train_step.kept.state_dict())
    classifier.eval()


def _train_epoch(
    train_step: TrainStep,
    training: Batches,
    validation: Batches,
    drawn: tuple[Tensor, augment.AugmentParams],
    seed: int,
    number: int,
    losses: Sequence[float],
    watch: Watch | None = None,
) -> tuple[float, float, list[Errors]]:
    """One pass over the training images: mean loss, accuracy, and the error rates at the steps that are recorded.

    drawn: what `_draw_epoch` returns. One transfer to the host at its end, and one at every record.
    """
    section, compute = train_step.section, train_step.compute
    # Dropout takes torch's own random state; every process has another.
    torch.manual_seed(_seeds(seed, number)[0] + distributed.rank())
    order, draws = drawn[0], drawn[1].to(compute.device)
    size = train_step.batch_size
    # Small images are augmented several batches at once, which spares the launch of many small operations; but not
    # where images of a batch are mixed.
    values = size * math.prod(training.image_shape)
    together = 1 if section.augment.mixes else max(1, augmented_values(compute.device) // values)

    steps = -(-len(order) // size)
    # Of each batch: mean loss and correct answers, on the device. Two tensors for all: small ones that stay would lie
    # between the large ones that go, whose memory could then not be used again (2 GiB for a million images).
    batch_losses = torch.zeros(steps, device=compute.device)
    right = torch.zeros(steps, device=compute.device, dtype=torch.int64)
    seen: list[int] = []  # images of each batch
    recorded, records = (0, 0), []

    train_step.classifier.train()
    groups = zip(training.take(order, size * together), draws.split(size * together), strict=True)
    augmented = _batches(section.augment, groups, size)
    bar = tqdm(
        total=len(order) * distributed.world_size(), desc=f"epoch {number}/{section.epochs}", unit=" images",
        leave=False, disable=True if distributed.rank() else None,
    )  # fmt: skip
    with bar:
        for step, (images, target) in enumerate(augmented, start=1):
            # The middle of the step: a warm-up then starts above 0 and a new epoch's rate with the new epoch.
            moment = number - 1 + (step - 0.5) / steps
            lr = section.optimizer.lr * lr_factor(section.schedule, moment, section.epochs, losses)
            step_of_all = (number - 1) * steps + step
            loss, correct = train_step.step(images, target, lr, step_of_all)
            if watch is not None:
                watch(step, loss, lr)
            batch_losses[step - 1] = loss
            right[step - 1] = correct
            seen.append(len(images))
            bar.update(len(images) * distributed.world_size())
            if section.record_every and step_of_all % section.record_every == 0:
                now = int(distributed.all_reduce_sum(right.sum()).item()), sum(seen) * distributed.world_size()
                train_error = 1 - (now[0] - recorded[0]) / (now[1] - recorded[1])
                held_out = measure(train_step.kept, validation)[1]
                train_step.classifier.train()
                records.append(Errors(step_of_all, number, train_error, None if held_out is None else 1 - held_out))
                recorded = now
    loss_sum = (batch_losses * torch.tensor(seen, device=compute.device)).sum()
    sums = distributed.all_reduce_sum(torch.stack([loss_sum, right.sum()]))
    loss, accuracy = (sums / (sum(seen) * distributed.world_size())).tolist()
    return loss, accuracy, records


def _one_ahead(function: Callable[[int], Result], numbers: Iterable[int]) -> Iterator[tuple[int, Future[Result]]]:
    """Yield what the function makes of each number; a thread makes the next while this one is in use."""
    waiting: tuple[int, Future[Result]] | None = None
    with ThreadPoolExecutor(1) as thread:
        for number in numbers:
            ready, waiting = waiting, (number, thread.submit(function, number))
            if ready is not None:
                yield ready
        if waiting is not None:
            yield waiting


def _draw_epoch(
    train_step: TrainStep, training: Batches, seed: int, number: int
) -> tuple[Tensor, augment.AugmentParams]:
    """Draw the order (M,) in which this process takes images in an epoch, and how they are augmented; on the CPU.

    A function of (seed, epoch) alone that leaves torch's own random state as it is.
    """
    section = train_step.section
    generator = torch.Generator().manual_seed(_seeds(seed, number)[1])
    order = _whole_parts(torch.randperm(len(training), generator=generator), train_step)
    height, width, _ = training.image_shape
    alternate = None
    if section.augment.flip == "alternate":
        alternate = augment.alternating(order, len(training), seed, number)
    draws = augment.draw(section.augment, len(order), (height, width), generator, alternate)
    # Drawn for whole batches, of which every process computes its part.
    part = distributed.train_shard(len(order), section.batch_size)
    draws = draws.take(part)
    return order[part], draws.pin_memory() if train_step.compute.device.type == "cuda" else draws


def _whole_parts(order: Tensor, train_step: TrainStep) -> Tensor:
    """The order (N,) without the few images at its end that would leave processes parts of different size, or batch
    norm a single image to learn from; others are left out next time."""
    if len(order) == 1:
        return order
    rest = len(order) % train_step.section.batch_size
    if train_step.section.drop_last and len(order) > rest:
        return order[: len(order) - rest]
    left = rest % distributed.world_size()
    if (rest // distributed.world_size()) % train_step.part_size == 1:
        left += distributed.world_size()
    return order[: len(order) - left]


def _batches(
    section: params.Augment, groups: Iterable[tuple[tuple[Tensor, Tensor], augment.AugmentParams]], size: int
) -> Iterator[tuple[Tensor, Target]]:
    """Augmented images and what they are to be taken for, in batches of `size`, from groups of one or more batches."""
    for (images, labels), draws in groups:
        images, mix = augment.apply(section, images, draws)
        yield from zip(torch.split(images, size), Target.of(labels, mix).split(size), strict=True)


def _seeds(seed: int, number: int) -> tuple[int, int]:
    """Return the seeds of an epoch's dropout and of all its other draws.

    Neighbouring seeds and epochs give unrelated numbers: numpy's `SeedSequence` mixes them.
    """
    dropout, draws = np.random.SeedSequence([seed, number]).generate_state(2)
    return int(dropout), int(draws)


def measure(classifier: Classifier, images: Batches) -> tuple[float | None, float | None]:
    """Mean cross entropy of the softmax probabilities in nats and accuracy; None for both where there are no images.

    In float32, whatever precision training has. Over all images, of which every process evaluates a part; all then have
    the same numbers.
    """
    if not len(images):
        return None, None
    distributed.broadcast_buffers(classifier)
    order = distributed.evaluation_shard(len(images))
    sums = torch.zeros(2, device=images.device)
    if len(order):
        outputs, labels = logits(classifier, images, order), images.labels[order.to(images.labels.device)]
        sums[0] = F.cross_entropy(outputs, labels, reduction="sum")
        sums[1] = (outputs.argmax(dim=1) == labels).sum()
    loss, correct = (distributed.all_reduce_sum(sums) / len(images)).tolist()
    return loss, correct
