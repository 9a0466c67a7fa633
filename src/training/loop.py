"""The training loop: a generator that yields one result per epoch, so that whoever drives it decides what to do."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

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
from src.training.optimization import lr_factor, optimizer


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave. Losses are mean cross entropies in nats, accuracies shares; validation is None without
    validation images. Training loss and accuracy are those of the augmented images as they were learned from; where two
    images are mixed, accuracy counts the label with the larger share."""

    number: int  # from 1
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float  # at the end of the epoch
    best: bool  # the best so far on validation; without validation images always true
    seconds: float
    images_per_second: float  # of the training part

    def metrics(self) -> dict[str, float]:
        """What a tracker shows as curves, by the names that `reports/history.csv` also has."""
        measured = {
            "train_loss": self.train_loss,
            "train_accuracy": self.train_accuracy,
            "validation_loss": self.validation_loss,
            "validation_accuracy": self.validation_accuracy,
            "lr": self.lr,
            "images_per_second": self.images_per_second,
            "epoch_seconds": self.seconds,
        }
        return {name: value for name, value in measured.items() if value is not None}

    def __str__(self) -> str:
        """One line for the terminal."""
        validation = ""
        if self.validation_accuracy is not None:
            validation = f"  validation {self.validation_loss:.4f} {self.validation_accuracy:7.2%}"
        speed = f"  {self.images_per_second:,.0f} images/s"
        best = "  best" if self.best else ""
        return f"epoch {self.number:3}  train {self.train_loss:.4f} {self.train_accuracy:7.2%}{validation}{speed}{best}"


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
    is the last epoch. Shuffling, augmentation and dropout of an epoch are a function of (seed, epoch) alone. Raises
    `Fault` when the loss is no longer finite, or memory does not suffice.
    """
    augment.check(section.augment, training.images.shape[3])
    classifier.to(compute.device).to(memory_format=torch.channels_last)
    optimiser = optimizer(section.optimizer, classifier)
    best_key, best_epoch, best_weights = (-1.0, 0.0), 0, None
    for number in range(1, section.epochs + 1):
        started = time.perf_counter()
        try:
            loss, accuracy = _train_epoch(classifier, optimiser, training, section, seed, number, compute)
            trained = time.perf_counter()
            validation_loss, validation_accuracy = measure(classifier, validation, compute)
        except torch.OutOfMemoryError:
            raise Fault(f"{compute.device} is out of memory: reduce train.batch_size or data.image_size") from None
        lr = optimiser.param_groups[0]["lr"]
        if not np.isfinite(loss):
            raise Fault(f"the loss became {loss} in epoch {number}: reduce train.optimizer.lr (now {lr:g})")

        key = (float(number), 0.0)
        if validation_accuracy is not None and validation_loss is not None:
            key = (validation_accuracy, -validation_loss)
        if best := key > best_key:
            best_key, best_epoch = key, number
            # Only needed if a worse epoch can follow; a copy, since training goes on in place.
            best_weights = copy.deepcopy(classifier.state_dict()) if validation_accuracy is not None else None
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
        )
        if section.patience is not None and number - best_epoch >= section.patience:
            break
    if best_weights is not None:
        classifier.load_state_dict(best_weights)
    classifier.eval()


def _train_epoch(
    classifier: Classifier,
    optimiser: torch.optim.Optimizer,
    training: Batches,
    section: params.Train,
    seed: int,
    number: int,
    compute: Compute,
) -> tuple[float, float]:
    """One pass over the training images: mean loss and accuracy. One transfer to the host, at its end."""
    generator = _seed_epoch(seed, number)
    order = torch.randperm(len(training), generator=generator)
    if len(order) > 1 and len(order) % section.batch_size == 1:
        order = order[:-1]  # batch norm cannot learn from a single image; another one is left out next time
    height, width = training.images.shape[1:3]
    draws = augment.draw(section.augment, len(order), (height, width), generator).to(compute.device)
    steps = -(-len(order) // section.batch_size)
    total = torch.zeros((), device=compute.device)
    correct = torch.zeros((), device=compute.device, dtype=torch.int64)

    classifier.train()
    batches = zip(training.take(order, section.batch_size), draws.split(section.batch_size), strict=True)
    bar = tqdm(total=len(order), desc=f"epoch {number}/{section.epochs}", unit=" images", leave=False, disable=None)
    with bar:
        for step, ((images, labels), batch_draws) in enumerate(batches, start=1):
            # The middle of the step: a warm-up then starts above 0 and a new epoch's rate with the new epoch.
            moment = number - 1 + (step - 0.5) / steps
            lr = section.optimizer.lr * lr_factor(section.schedule, moment, section.epochs)
            for group in optimiser.param_groups:
                group["lr"] = lr
            images, mix = augment.apply(section.augment, images, batch_draws)
            with compute.autocasting():
                outputs = classifier(images)
                loss = _loss(outputs.float(), labels, mix, section.label_smoothing)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach() * len(labels)
            expected = labels if mix is None else mix.dominant(labels)
            correct += (outputs.detach().argmax(dim=1) == expected).sum()
            bar.update(len(labels))
    return total.item() / len(order), correct.item() / len(order)


def _loss(outputs: Tensor, labels: Tensor, mix: augment.Mix | None, label_smoothing: float) -> Tensor:
    """Mean cross entropy; of mixed images, each label's by its share."""
    if mix is None:
        return F.cross_entropy(outputs, labels, label_smoothing=label_smoothing)
    own, partners = (
        F.cross_entropy(outputs, target, label_smoothing=label_smoothing, reduction="none")
        for target in (labels, labels[mix.partner])
    )
    return torch.lerp(partners, own, mix.weight).mean()


def _seed_epoch(seed: int, number: int) -> Generator:
    """Sets torch's global random state (dropout) from (seed, epoch) and returns a generator for all other draws.

    Neighbouring seeds and epochs give unrelated numbers: numpy's `SeedSequence` mixes them.
    """
    dropout, draws = np.random.SeedSequence([seed, number]).generate_state(2)
    torch.manual_seed(int(dropout))
    return torch.Generator().manual_seed(int(draws))


def measure(classifier: Classifier, images: Batches, compute: Compute) -> tuple[float | None, float | None]:
    """Mean cross entropy in nats and accuracy; None for both where there are no images."""
    if not len(images):
        return None, None
    outputs = logits(classifier, images, compute)
    labels: Tensor = images.labels.to(compute.device)
    loss = F.cross_entropy(outputs, labels).item()
    return loss, (outputs.argmax(dim=1) == labels).float().mean().item()
