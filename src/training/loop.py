"""The training loop: a generator that yields one result per epoch, so that whoever drives it decides what to do."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

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

# A segment: so much is drawn at once, and a state can be saved at its end.
_SEGMENT_BYTES, _SEGMENT_IMAGES = 2**28, 2**17
_WINDOW = 4  # shards whose images are shuffled together

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
    augmentation and dropout of a segment of an epoch are a function of (seed, epoch, segment) alone; a thread draws the
    first two for the next segment meanwhile, so that a GPU does not wait for the host. Several processes of one group
    train one model, and each yields the same results. `progress` says where an interrupted training of the same
    arguments stood, and is kept up to date. Raises `UserError` when the loss is no longer finite, or memory does not
    suffice.
    """
    augment.check(config.augment, training.image_shape)
    fit_whitening(classifier, training.images)
    train_step = TrainStep(classifier, config, training.labels, compute)
    progress = progress or Progress()
    progress.start(train_step)
    first = len(progress.epochs) + 1
    segments = draw_segments(train_step, training, seed, first, progress.unfinished.segments)
    with ThreadPoolExecutor(1) as thread:
        drawing = thread.submit(next, segments)

        def drawn() -> Segment:
            nonlocal drawing
            segment, drawing = drawing.result(), thread.submit(next, segments)
            return segment

        for number in range(first, config.epochs + 1):
            if config.patience is not None and len(progress.epochs) - progress.best_epoch >= config.patience:
                break
            if cuda := compute.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(compute.device)
            started, before = time.perf_counter(), progress.unfinished.images
            try:
                loss, accuracy, steps = train_epoch(train_step, training, validation, drawn, seed, progress)
                trained = time.perf_counter()
                validation_loss, validation_accuracy = measure(train_step.kept, validation)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                raise UserError(f"{compute.device} is out of memory: {LESS_MEMORY}") from None
            lr = train_step.lr
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
                images_per_second=(len(training) - before) / (trained - started),
                peak_gpu_memory_gib=torch.cuda.max_memory_allocated(compute.device) / 2**30 if cuda else None,
                steps=steps,
            )
            progress.add(epoch)
            yield epoch
    classifier.load_state_dict(progress.best_weights or train_step.kept.state_dict())
    classifier.eval()


class Segment(NamedTuple):
    """Hold a part of an epoch as one process computes it: some thousand images, the last part of an epoch fewer."""

    order: Tensor  # int64 (M,), indices of the images on the CPU
    augment_params: augment.AugmentParams
    steps: int  # of the whole epoch
    last: bool


def train_epoch(
    train_step: TrainStep,
    training: Batches,
    validation: Batches,
    drawn: Callable[[], Segment],
    seed: int,
    progress: Progress,
) -> tuple[float, float, list[Errors]]:
    """Pass once over the training images; return mean loss, accuracy, and the error rates at the recorded steps.

    drawn: returns what `draw_segments` yields next. Goes on from `progress.unfinished`, which is kept up to date. The
    host waits for the device once at the end, and once at every record and every state that is saved.
    """
    config, compute, size = train_step.config, train_step.compute, train_step.batch_size
    done, processes = progress.unfinished, distributed.world_size()
    # Small images are augmented several batches at once, which spares the launch of many small operations; but not
    # where images of a batch are mixed.
    values = size * math.prod(training.image_shape)
    together = 1 if config.augment.mixes else max(1, augmented_values(compute.device) // values)
    sums = torch.tensor(done.sums, device=compute.device)
    step, images_seen = done.steps, done.images

    def augmented(order: Tensor, augment_params: augment.AugmentParams) -> Iterator[tuple[Tensor, Target]]:
        groups = zip(training.take(order, size * together), augment_params.split(size * together), strict=True)
        for (images, labels), group_params in groups:
            images, mix = augment.apply(config.augment, images, group_params)
            yield from zip(torch.split(images, size), Target.of(labels, mix).split(size), strict=True)

    with tqdm(
        total=len(training), initial=images_seen, desc=f"epoch {done.number}/{config.epochs}", unit=" images",
        leave=False, disable=True if distributed.rank() else None,
    ) as bar:  # fmt: skip
        last = False
        while not last:
            # Dropout takes torch's own random state; every process has another.
            torch.manual_seed(segment_seeds(seed, done.number, done.segments)[0] + distributed.rank())
            order, augment_params, steps, last = drawn()
            # Of each batch: mean loss and correct answers, on the device. Two tensors for all: small ones that stay
            # would lie between the large ones that go, whose memory could then not be used again.
            batches = -(-len(order) // size)
            batch_losses = torch.zeros(batches, device=compute.device)
            right = torch.zeros(batches, device=compute.device, dtype=torch.int64)
            seen: list[int] = []  # images of each batch
            train_step.classifier.train()
            for images, target in augmented(order, augment_params.to(compute.device)):
                step += 1
                # The middle of the step: a warm-up then starts above 0 and a new epoch's rate with the new epoch.
                moment = done.number - 1 + (step - 0.5) / steps
                lr = config.optimizer.lr * lr_factor(config.schedule, moment, config.epochs, progress.losses)
                step_of_all = (done.number - 1) * steps + step
                batch = len(seen)
                batch_losses[batch], right[batch] = train_step.step(images, target, lr, step_of_all)
                seen.append(len(images))
                images_seen += len(images) * processes
                bar.update(len(images) * processes)
                if config.record_every and step_of_all % config.record_every == 0:
                    so_far = int(sums[1].item()) + int(distributed.all_reduce_sum(right.sum()).item())
                    train_error = 1 - (so_far - done.recorded[0]) / (images_seen - done.recorded[1])
                    held_out = measure(train_step.kept, validation)[1]
                    train_step.classifier.train()
                    validation_error = None if held_out is None else 1 - held_out
                    done.records.append(Errors(step_of_all, done.number, train_error, validation_error))
                    done.recorded = so_far, images_seen
            loss_sum = (batch_losses * torch.tensor(seen, device=compute.device)).sum()
            sums = sums + distributed.all_reduce_sum(torch.stack([loss_sum, right.sum()]))
            done.segments, done.steps, done.images = done.segments + 1, step, images_seen
            if not last:
                progress.segment_ended(sums)
    loss, accuracy = (sums / images_seen).tolist()
    return loss, accuracy, done.records


def draw_segments(train_step: TrainStep, training: Batches, seed: int, number: int, segments: int) -> Iterator[Segment]:
    """Draw the order in which this process computes the images, and how each is augmented, without end.

    Begins in epoch `number` after so many `segments`. A function of (seed, epoch, segment) alone that leaves torch's
    own random state as it is. A few images at the end of the order are left out of this epoch where they would give
    processes parts of different size, or batch norm a single image to learn from; with `train.drop_last` all that fill
    no batch, unless there is no whole one.
    """
    config, processes = train_step.config, distributed.world_size()
    height, width, channels = training.image_shape
    images = min(_SEGMENT_BYTES // (height * width * channels), _SEGMENT_IMAGES)
    images = max(1, images // config.batch_size) * config.batch_size
    labels = training.labels.cpu() if config.sampling == "balanced" else None
    for epoch in itertools.count(number):
        generator = torch.Generator().manual_seed(segment_seeds(seed, epoch, 0)[1])
        times = None if labels is None else balanced(labels, generator)
        order = shuffled(training.shards, generator, times)
        if len(order) > 1:
            rest = len(order) % config.batch_size
            left_out = rest % processes
            if config.drop_last and rest < len(order):
                left_out = rest
            elif (rest // processes) % train_step.part_size == 1:
                left_out += processes
            order = order[: len(order) - left_out]
        steps = -(-len(order) // config.batch_size)
        parts = torch.split(order, images)
        for segment, part in enumerate(parts):
            if segment:
                generator = torch.Generator().manual_seed(segment_seeds(seed, epoch, segment)[1])
            if epoch == number and segment < segments:
                continue
            alternate = None
            if config.augment.flip == "alternate":
                alternate = augment.alternating(part, len(training), seed, epoch)
            drawn = augment.draw(config.augment, len(part), (height, width), generator, alternate)
            # Drawn for whole batches, of which every process computes its part.
            own = distributed.train_shard(len(part), config.batch_size)
            drawn = drawn.take(own)
            drawn = drawn.pin_memory() if train_step.compute.device.type == "cuda" else drawn
            yield Segment(part[own], drawn, steps, last=segment == len(parts) - 1)


def balanced(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw how often each image occurs in an epoch in which every class occurs equally often: int64 (N,), sum N.

    Of a class all images occur equally often, but for one time more or less. labels: int64 (N,).
    """
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]  # class after class, the images of each in random order
    counts = labels.bincount()
    counts = counts[counts > 0]
    drawn = torch.arange(len(labels))
    which, number = drawn % len(counts), drawn // len(counts)  # the class of each draw, and its number among those
    return by_class[(counts.cumsum(0) - counts)[which] + number % counts[which]].bincount(minlength=len(labels))


def shuffled(shards: Sequence[int], generator: torch.Generator, times: Tensor | None = None) -> Tensor:
    """Return the indices of the images of shards of so many images each in random order.

    times: how often each occurs, (N,); None: once. The shards too are in random order. The images of a few, in this
    order, are shuffled together.
    """
    starts = np.cumsum([0, *shards])
    order = torch.randperm(len(shards), generator=generator).tolist() if len(shards) > 1 else [0]
    windows = []
    for first in range(0, len(order), _WINDOW):
        window = order[first : first + _WINDOW]
        indices = torch.cat([torch.arange(starts[shard], starts[shard + 1]) for shard in window])
        if times is not None:
            indices = indices.repeat_interleave(times[indices])
        windows.append(indices[torch.randperm(len(indices), generator=generator)])
    return torch.cat(windows)


def segment_seeds(seed: int, number: int, segment: int) -> tuple[int, int]:
    """Return the seeds of a segment's dropout, and of its order and augmentation.

    Neighbouring seeds, epochs and segments give unrelated numbers: numpy's `SeedSequence` mixes them.
    """
    dropout, drawing = np.random.SeedSequence([seed, number, *[segment] * (segment > 0)]).generate_state(2)
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
