"""The training loop: a generator that yields one result per epoch, so that whoever drives it decides what to do."""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

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
from src.training.results import Epoch, Errors
from src.training.resume import Progress
from src.training.schedules import lr_factor
from src.training.step import TrainStep

LESS_MEMORY = "reduce train.batch_size, raise train.accumulate or reduce data.image_size"


def train(
    classifier: Classifier,
    training: Batches,
    validation: Batches,
    config: params.Train,
    seed: int,
    compute: Compute,
    progress: Progress | None = None,
) -> Iterator[Epoch]:
    """Train `classifier` and yield after each epoch; when exhausted, the classifier has the best epoch's weights.

    Best is the highest validation accuracy, at equal accuracy the lowest validation loss; without validation images it
    is the last epoch. With `train.ema`, the moving average of the weights is what is validated and kept. Shuffling,
    augmentation and dropout of an epoch are a function of (seed, epoch) alone; a thread draws the first two for the
    next epoch meanwhile, so that a GPU does not wait for the host. Several processes of one group train one model, and
    each yields the same results. `progress` says where an interrupted training of the same arguments stood, and is kept
    up to date. Raises `UserError` when the loss is no longer finite, or memory does not suffice.
    """
    augment.check(config.augment, training.image_shape)
    fit_whitening(classifier, training.images)
    train_step = TrainStep(classifier, config, training.labels, compute)
    progress = progress or Progress()
    progress.start(train_step)
    draw = functools.partial(draw_epoch, train_step, training, seed)
    first = len(progress.epochs) + 1
    with ThreadPoolExecutor(1) as thread:
        drawing = thread.submit(draw, first)
        for number in range(first, config.epochs + 1):
            if config.patience is not None and len(progress.epochs) - progress.best_epoch >= config.patience:
                break
            if cuda := compute.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(compute.device)
            started = time.perf_counter()
            try:
                drawn = drawing.result()
                drawing = thread.submit(draw, number + 1)
                loss, accuracy, steps = train_epoch(
                    train_step, training, validation, drawn, seed, number, progress.losses
                )
                trained = time.perf_counter()
                validation_loss, validation_accuracy = measure(train_step.kept, validation)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                raise UserError(f"{compute.device} is out of memory: {LESS_MEMORY}") from None
            lr = train_step.optimiser.param_groups[0]["lr"]
            for which, value in ("training", loss), ("validation", validation_loss):
                if value is not None and not np.isfinite(value):
                    raise UserError(
                        f"the {which} loss became {value} in epoch {number}, with a learning rate of {lr:g} at its "
                        "end: reduce train.optimizer.lr or set train.clip_gradient"
                    )

            epoch = Epoch(
                number=number,
                train_loss=loss,
                train_accuracy=accuracy,
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
                lr=lr,
                best=progress.is_best(validation_loss, validation_accuracy),
                seconds=time.perf_counter() - started,
                images_per_second=len(training) / (trained - started),
                peak_gpu_memory_gib=torch.cuda.max_memory_allocated(compute.device) / 2**30 if cuda else None,
                steps=steps,
            )
            progress.add(epoch)
            yield epoch
    classifier.load_state_dict(progress.best_weights or train_step.kept.state_dict())
    classifier.eval()


def train_epoch(
    train_step: TrainStep,
    training: Batches,
    validation: Batches,
    drawn: tuple[Tensor, augment.AugmentParams],
    seed: int,
    number: int,
    losses: Sequence[float],
) -> tuple[float, float, list[Errors]]:
    """Pass once over the training images; return mean loss, accuracy, and the error rates at the recorded steps.

    drawn: what `draw_epoch` returns; losses: of validation, epoch by epoch. The host waits for the device once at the
    end, and once at every record.
    """
    config, compute, size = train_step.config, train_step.compute, train_step.batch_size
    # Dropout takes torch's own random state; every process has another.
    torch.manual_seed(epoch_seeds(seed, number)[0] + distributed.rank())
    order, augment_params = drawn[0], drawn[1].to(compute.device)
    # Small images are augmented several batches at once, which spares the launch of many small operations; but not
    # where images of a batch are mixed.
    values = size * math.prod(training.image_shape)
    together = 1 if config.augment.mixes else max(1, augmented_values(compute.device) // values)

    steps = -(-len(order) // size)
    # Of each batch: mean loss and correct answers, on the device. Two tensors for all: small ones that stay would lie
    # between the large ones that go, whose memory could then not be used again (2 GiB for a million images).
    batch_losses = torch.zeros(steps, device=compute.device)
    right = torch.zeros(steps, device=compute.device, dtype=torch.int64)
    seen: list[int] = []  # images of each batch
    recorded, records = (0, 0), []

    def augmented() -> Iterator[tuple[Tensor, Target]]:
        groups = zip(training.take(order, size * together), augment_params.split(size * together), strict=True)
        for (images, labels), group_params in groups:
            images, mix = augment.apply(config.augment, images, group_params)
            yield from zip(torch.split(images, size), Target.of(labels, mix).split(size), strict=True)

    train_step.classifier.train()
    with tqdm(
        total=len(order) * distributed.world_size(), desc=f"epoch {number}/{config.epochs}", unit=" images",
        leave=False, disable=True if distributed.rank() else None,
    ) as bar:  # fmt: skip
        for step, (images, target) in enumerate(augmented(), start=1):
            # The middle of the step: a warm-up then starts above 0 and a new epoch's rate with the new epoch.
            moment = number - 1 + (step - 0.5) / steps
            lr = config.optimizer.lr * lr_factor(config.schedule, moment, config.epochs, losses)
            step_of_all = (number - 1) * steps + step
            batch_losses[step - 1], right[step - 1] = train_step.step(images, target, lr, step_of_all)
            seen.append(len(images))
            bar.update(len(images) * distributed.world_size())
            if config.record_every and step_of_all % config.record_every == 0:
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


def draw_epoch(
    train_step: TrainStep, training: Batches, seed: int, number: int
) -> tuple[Tensor, augment.AugmentParams]:
    """Draw the order (M,) in which this process computes the images of an epoch, and how each is augmented.

    A function of (seed, epoch) alone that leaves torch's own random state as it is. A few images at the end of the
    order are left out of this epoch where they would give processes parts of different size, or batch norm a single
    image to learn from; with `train.drop_last` all that fill no batch, unless there is no whole one.
    """
    config, processes = train_step.config, distributed.world_size()
    generator = torch.Generator().manual_seed(epoch_seeds(seed, number)[1])
    order = torch.randperm(len(training), generator=generator)
    if len(order) > 1:
        rest = len(order) % config.batch_size
        left_out = rest % processes
        if config.drop_last and rest < len(order):
            left_out = rest
        elif (rest // processes) % train_step.part_size == 1:
            left_out += processes
        order = order[: len(order) - left_out]
    height, width, _ = training.image_shape
    alternate = None
    if config.augment.flip == "alternate":
        alternate = augment.alternating(order, len(training), seed, number)
    drawn = augment.draw(config.augment, len(order), (height, width), generator, alternate)
    # Drawn for whole batches, of which every process computes its part.
    part = distributed.train_shard(len(order), config.batch_size)
    drawn = drawn.take(part)
    return order[part], drawn.pin_memory() if train_step.compute.device.type == "cuda" else drawn


def epoch_seeds(seed: int, number: int) -> tuple[int, int]:
    """Return the seeds of an epoch's dropout, and of its order and augmentation.

    Neighbouring seeds and epochs give unrelated numbers: numpy's `SeedSequence` mixes them.
    """
    dropout, drawing = np.random.SeedSequence([seed, number]).generate_state(2)
    return int(dropout), int(drawing)


def measure(classifier: Classifier, images: Batches) -> tuple[float | None, float | None]:
    """Return mean cross entropy of the softmax probabilities in nats, and accuracy; None for both without images.

    In float32, whatever precision training has. Every process evaluates a part of the images; all return the same.
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
