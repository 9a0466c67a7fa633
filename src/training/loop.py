"""The training loop: a generator that yields one result per epoch, so that whoever drives it decides what to do."""

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from tqdm import tqdm

from src import params
from src.compute.batches import Batches
from src.compute.device import Compute
from src.compute.forward import logits
from src.faults import Fault
from src.models.classifier import Classifier
from src.models.layers import last_layer
from src.training import augment
from src.training.average import Average
from src.training.losses import Loss, loss_function
from src.training.optimizers import decayed, optimizer
from src.training.results import Epoch, Errors
from src.training.schedules import lr_factor


def train(
    classifier: Classifier,
    training: Batches,
    validation: Batches,
    section: params.Train,
    seed: int,
    compute: Compute,
) -> Iterator[Epoch]:
    """Trains `classifier` and yields after each epoch; when exhausted, the classifier has the best epoch's weights.

    Best is the highest validation accuracy, at equal accuracy the lowest validation loss; without validation images it
    is the last epoch. Where `section.ema` is set, the moving average of the weights is what is validated and kept.
    Shuffling, augmentation and dropout of an epoch are a function of (seed, epoch) alone. Raises `Fault` when the loss
    is no longer finite, or memory does not suffice.
    """
    # L-BFGS lays all gradients end to end, which torch only does with contiguous ones.
    layout = torch.contiguous_format if section.optimizer.name == "lbfgs" else torch.channels_last
    classifier.to(compute.device).to(memory_format=layout)
    classes = len(last_layer(classifier.network)[1].weight)
    average = None if section.ema is None else Average(classifier, section.ema)
    kept = classifier if average is None else average.classifier
    lesson = _Lesson(
        classifier=classifier,
        optimiser=optimizer(section.optimizer, classifier, section.decay_biases),
        loss=loss_function(section.loss, training.labels, classes, compute.device),
        average=average,
        section=section,
        compute=compute,
    )
    losses: list[float] = []
    best_key, best_epoch, best_weights = (-1.0, 0.0), 0, None
    for number in range(1, section.epochs + 1):
        started = time.perf_counter()
        try:
            loss, accuracy, steps = _train_epoch(lesson, training, validation, kept, seed, number, losses)
            trained = time.perf_counter()
            validation_loss, validation_accuracy = measure(kept, validation, compute)
        except torch.OutOfMemoryError:
            raise Fault(f"{compute.device} is out of memory: reduce train.batch_size or data.image_size") from None
        lr = lesson.optimiser.param_groups[0]["lr"]
        if not np.isfinite(loss):
            raise Fault(f"the loss became {loss} in epoch {number}: reduce train.optimizer.lr (now {lr:g})")

        key = (float(number), 0.0)
        if validation_accuracy is not None and validation_loss is not None:
            key = (validation_accuracy, -validation_loss)
            losses.append(validation_loss)
        if best := key > best_key:
            best_key, best_epoch = key, number
            # Only needed if a worse epoch can follow; a copy, since training goes on in place.
            best_weights = copy.deepcopy(kept.state_dict()) if validation_accuracy is not None else None
        yield Epoch(
            number=number,
            train_loss=loss,
            train_accuracy=accuracy,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            lr=lr,
            best=best,
            seconds=time.perf_counter() - started,
            images_per_second=len(training) / (trained - started),
            steps=steps,
        )
        if section.patience is not None and number - best_epoch >= section.patience:
            break
    classifier.load_state_dict(kept.state_dict() if best_weights is None else best_weights)
    classifier.eval()


@dataclass(frozen=True)
class _Lesson:
    """All that a step of training needs."""

    classifier: Classifier
    optimiser: Optimizer
    loss: Loss
    average: Average | None
    section: params.Train
    compute: Compute

    @property
    def part_size(self) -> int:
        """Images that are computed at once."""
        return self.section.batch_size // self.section.accumulate

    def step(self, images: Tensor, labels: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """Learns a batch: its mean loss and the number of correct answers, both still on the device."""
        evaluations: list[tuple[Tensor, Tensor]] = []

        def gradient() -> Any:
            self.classifier.zero_grad(set_to_none=True)
            evaluations.append(self._accumulate_gradient(images, labels))
            loss = evaluations[-1][0] + self._penalise()
            if self.section.clip_gradient is not None:
                clip_grad_norm_(self.classifier.parameters(), self.section.clip_gradient)
            return loss

        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step(gradient)
        return evaluations[0]  # L-BFGS evaluates a batch several times

    def _accumulate_gradient(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss = torch.zeros((), device=labels.device)
        correct = torch.zeros((), device=labels.device, dtype=torch.int64)
        parts = zip(torch.split(images, self.part_size), torch.split(labels, self.part_size), strict=True)
        for part, part_labels in parts:
            with self.compute.autocasting():
                outputs = self.classifier(part)
                part_loss = self.loss(outputs.float(), part_labels) * (len(part) / len(images))
            part_loss.backward()  # type: ignore[no-untyped-call]
            loss += part_loss.detach()
            correct += (outputs.detach().argmax(dim=1) == part_labels).sum()
        return loss, correct

    def _penalise(self) -> Tensor | float:
        """Adds the gradient of the L1 penalty (weight decay, the L2 penalty, is the optimiser's) and returns it."""
        if not self.section.l1_penalty:
            return 0.0
        sizes = [weight.abs().sum() for weight in decayed(self.classifier, self.section.decay_biases)]
        penalty = self.section.l1_penalty * torch.stack(sizes).sum()
        penalty.backward()  # type: ignore[no-untyped-call]
        return penalty.detach()


def _train_epoch(
    lesson: _Lesson,
    training: Batches,
    validation: Batches,
    kept: Classifier,
    seed: int,
    number: int,
    losses: Sequence[float],
) -> tuple[float, float, list[Errors]]:
    """One pass over the training images: mean loss, accuracy, and the error rates at the steps that are recorded.

    One transfer to the host at its end, and one at every record.
    """
    section, compute = lesson.section, lesson.compute
    generator = _seed_epoch(seed, number)
    order = torch.randperm(len(training), generator=generator)
    if len(order) > 1 and len(order) % lesson.part_size == 1:
        order = order[:-1]  # batch norm cannot learn from a single image; another one is left out next time
    draws = augment.draw(section.augment, len(order), generator).to(compute.device)
    steps = -(-len(order) // section.batch_size)
    total = torch.zeros((), device=compute.device)
    correct = torch.zeros((), device=compute.device, dtype=torch.int64)
    seen, recorded, records = 0, (0, 0), []

    lesson.classifier.train()
    batches = zip(training.take(order, section.batch_size), draws.split(section.batch_size), strict=True)
    bar = tqdm(total=len(order), desc=f"epoch {number}/{section.epochs}", unit=" images", leave=False, disable=None)
    with bar:
        for step, ((images, labels), batch_draws) in enumerate(batches, start=1):
            # The middle of the step: a warm-up then starts above 0 and a new epoch's rate with the new epoch.
            moment = number - 1 + (step - 0.5) / steps
            lr = section.optimizer.lr * lr_factor(section.schedule, moment, section.epochs, losses)
            images = augment.apply(section.augment, images, batch_draws)
            loss, right = lesson.step(images, labels, lr)
            total += loss * len(labels)
            correct += right
            seen += len(labels)
            bar.update(len(labels))
            step_of_all = (number - 1) * steps + step
            if lesson.average is not None:
                lesson.average.update(step_of_all)
            if section.record_every and step_of_all % section.record_every == 0:
                now = int(correct.item()), seen
                train_error = 1 - (now[0] - recorded[0]) / (now[1] - recorded[1])
                accuracy = measure(kept, validation, compute)[1]
                lesson.classifier.train()
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
