"""The training loop: a generator that yields the results of each epoch; its caller saves, logs, or stops it."""

import itertools
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from src import params
from src.compute import distributed
from src.compute.batches import Batches
from src.compute.device import AUGMENTED_VALUES, Compute
from src.compute.forward import logits
from src.core.errors import UserError
from src.core.pool import map_ahead
from src.models.classifier import Classifier
from src.training import augment
from src.training.epoch import Epoch, Errors
from src.training.losses import Target
from src.training.order import Segment, draw_segments, segment_seeds
from src.training.resume import Progress
from src.training.schedules import lr_factor
from src.training.step import TrainStep
from src.training.whitening import fit_whitening


def train(
    classifier: Classifier,
    training: Batches,
    validation: Batches,
    config: params.Train,
    seed: int,
    compute: Compute,
    progress: Progress | None = None,
) -> Iterator[Epoch]:
    """Train `classifier` and yield after each epoch; at the end the classifier has the weights of the best epoch.

    Best is the highest validation accuracy, at equal accuracy the lowest validation loss; without validation images it
    is the last epoch. With `train.ema`, the moving average of the weights is what is validated and kept. Shuffling,
    augmentation and dropout are a function of (seed, epoch, segment) alone; a thread draws the first two for the next
    segment meanwhile, so that a GPU does not wait for the host. If several processes train one model, each yields the
    same results. `progress` says where an interrupted training of the same arguments stood, and is kept up to date.
    Raises `UserError` when the loss is no longer finite.
    """
    augment.check(config.augment, training.image_shape)
    fit_whitening(compute.place(classifier), training)
    train_step = TrainStep(classifier, config, training.labels, compute)
    progress = progress or Progress()
    progress.start(train_step)
    first = len(progress.epochs) + 1
    drawn = draw_segments(train_step, training, seed, first, progress.unfinished.segments)
    segments = map_ahead(next, itertools.repeat(drawn), threads=1)
    for number in range(first, config.epochs + 1):
        if config.patience is not None and len(progress.epochs) - progress.best_epoch >= config.patience:
            break
        if cuda := compute.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(compute.device)
        started, before = time.perf_counter(), progress.unfinished.images
        loss, accuracy, steps = train_epoch(train_step, training, validation, segments, seed, progress)
        trained = time.perf_counter()
        validation_loss, validation_accuracy = measure(train_step.kept, validation)
        for which, value in ("training", loss), ("validation", validation_loss):
            if value is not None and not np.isfinite(value):
                raise UserError(
                    f"the {which} loss became {value} in epoch {number}, with a learning rate of {train_step.lr:g} at "
                    "its end: reduce train.optimizer.lr or set train.clip_gradient"
                )

        epoch = Epoch(
            number=number,
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            lr=train_step.lr,
            best=progress.is_best(validation_loss, validation_accuracy),
            seconds=time.perf_counter() - started,
            images_per_second=(progress.unfinished.images - before) / (trained - started),
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
    segments: Iterator[Segment],
    seed: int,
    progress: Progress,
) -> tuple[float, float, list[Errors]]:
    """Pass once over the training images; return mean loss, accuracy, and the error rates at the recorded steps.

    segments: what `draw_segments` yields. Goes on from `progress.unfinished`, which is kept up to date. The host waits
    for the device once at the end, and once at every record and every state that is saved.
    """
    config, compute, size = train_step.config, train_step.compute, train_step.batch_size
    done, processes = progress.unfinished, distributed.world_size()
    # Small images are augmented several batches at once, by fewer and larger operations; but not where images of one
    # batch are mixed.
    most = AUGMENTED_VALUES.get(compute.device.type, AUGMENTED_VALUES["cpu"])
    together = 1 if config.augment.mixes else max(1, most // (size * math.prod(training.image_shape)))
    sums = done.sums.to(compute.device)
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
            # Dropout takes torch's own random state; each process needs another one.
            torch.manual_seed(segment_seeds(seed, done.number, done.segments)[0] + distributed.rank())
            order, augment_params, steps, last = next(segments)
            # Mean loss and correct answers of each batch, on the device. Two tensors for all batches: many small ones
            # would lie between the large ones of the steps, whose memory could then not be used again.
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
            done.segments, done.steps, done.images, done.sums = done.segments + 1, step, images_seen, sums
            if not last:
                progress.on_segment()
    loss, accuracy = (sums / images_seen).tolist()
    return loss, accuracy, done.records


def measure(classifier: Classifier, images: Batches) -> tuple[float | None, float | None]:
    """Return mean cross entropy in nats, and accuracy; None for both without images.

    Computed in float32, whatever precision training has. Each process evaluates a part of the images; all return the
    same numbers.
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
