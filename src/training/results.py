"""The results that training reports while it goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Errors:
    """Hold the error rates that `train.record_every` asks for after a step of the optimiser."""

    step: int  # from 1, counted through all epochs
    epoch: int
    train_error: float  # of the batches since the last record or the start of the epoch, as they were learned from
    validation_error: float | None  # of all validation images, None without any


@dataclass
class Unfinished:
    """Hold what an epoch that is not finished has come to, at the end of a segment."""

    number: int  # of the epoch, from 1
    segments: int = 0  # that are done
    steps: int = 0  # that are done in this epoch
    images: int = 0  # learned so far, by all processes together
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])  # of the losses, and of the correct answers
    recorded: tuple[int, int] = (0, 0)  # correct answers and images at the last record
    records: list[Errors] = field(default_factory=list)


@dataclass(frozen=True)
class Epoch:
    """Hold the results of one epoch. Accuracies are shares of 1; validation is None without validation images.

    The training loss is the one that `train.loss` names, without penalties; it and the training accuracy are those of
    the augmented images as they were learned from. The validation loss is the mean cross entropy of the softmax
    probabilities in nats whatever the loss, so that runs with different losses can be compared.
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
    peak_gpu_memory_gib: float | None  # most that tensors took at once; None on other devices
    steps: Sequence[Errors]

    def metrics(self) -> dict[str, float]:
        """Return what a tracker shows as curves, by the names that `reports/history.csv` also has."""
        measured = {
            "train_loss": self.train_loss,
            "train_accuracy": self.train_accuracy,
            "validation_loss": self.validation_loss,
            "validation_accuracy": self.validation_accuracy,
            "lr": self.lr,
            "images_per_second": self.images_per_second,
            "epoch_seconds": self.seconds,
            "peak_gpu_memory_gib": self.peak_gpu_memory_gib,
        }
        return {name: value for name, value in measured.items() if value is not None}

    def __str__(self) -> str:
        """Return one line for the terminal."""
        validation = ""
        if self.validation_accuracy is not None:
            validation = f"  validation {self.validation_loss:.4f} {self.validation_accuracy:7.2%}"
        speed = f"  {self.images_per_second:,.0f} images/s"
        best = "  best" if self.best else ""
        return f"epoch {self.number:3}  train {self.train_loss:.4f} {self.train_accuracy:7.2%}{validation}{speed}{best}"
