"""The results of an epoch of training, and the error rates recorded within it."""

from collections.abc import Sequence
from dataclasses import dataclass

# The numbers of an epoch that files and MLflow keep as curves. Its speed and memory differ from run to run.
CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")


@dataclass(frozen=True)
class Errors:
    """Hold the error rates after a step of the optimiser, every `train.record_every` steps."""

    step: int  # from 1, counted through all epochs
    epoch: int
    train_error: float  # of the batches since the last record or the start of the epoch, as augmented
    validation_error: float | None  # of all validation images; None without any


@dataclass(frozen=True)
class Epoch:
    """Hold the results of one epoch. Accuracies are shares of 1; validation is None without validation images.

    Training loss and accuracy are those of the augmented images; the loss is the one that `train.loss` names, without
    penalties. The validation loss is always the mean cross entropy in nats, so that runs with different losses can be
    compared.
    """

    number: int  # from 1
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float  # at the end of the epoch
    best: bool  # the best so far on validation; without validation images always true
    seconds: float
    images_per_second: float  # of the training part
    peak_gpu_memory_gib: float | None  # the most that tensors took at once; None on other devices
    steps: Sequence[Errors]

    def __str__(self) -> str:
        """Return one line for the terminal."""
        validation = ""
        if self.validation_accuracy is not None:
            validation = f"  validation {self.validation_loss:.4f} {self.validation_accuracy:7.2%}"
        speed = f"  {self.images_per_second:,.0f} images/s"
        best = "  best" if self.best else ""
        return f"epoch {self.number:3}  train {self.train_loss:.4f} {self.train_accuracy:7.2%}{validation}{speed}{best}"
