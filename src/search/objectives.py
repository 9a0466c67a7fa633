"""Define what a search optimises: the accuracy or the loss on the validation images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from src.training.epoch import Epoch

if TYPE_CHECKING:
    from src.training.trainer import Trainer, Training


@dataclass(frozen=True)
class Objective:
    name: str  # accuracy or loss

    @property
    def maximize(self) -> bool:
        return self.name == "accuracy"

    @property
    def key(self) -> str:
        """Return its name in tables and in MLflow."""
        return f"validation_{self.name}"

    @property
    def label(self) -> str:
        return f"validation {self.name}"

    def of_epoch(self, epoch: Epoch) -> float:
        """Return the value of an epoch, by which trials are pruned. There are validation images in every search."""
        value = epoch.validation_accuracy if self.name == "accuracy" else epoch.validation_loss
        assert value is not None
        return value

    def of_training(self, epochs: Sequence[Epoch]) -> float:
        """Return the value of a finished training: the best of its epochs."""
        return (max if self.maximize else min)(map(self.of_epoch, epochs))

    def words(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.name == "accuracy" else f"{value:.4f}"


def measure(trainer: "Trainer", training: "Training") -> dict[str, Any]:
    """Return the MD5 of the file that the stage train would write."""
    from src.compute.forward import logits  # imports torch, which only workers need
    from src.evaluation.calibration import calibrated
    from src.models.model_file import content

    outputs, labels = logits(training.learned, training.validation), training.validation.labels
    model = content(training.classifier, calibrated(training.spec, outputs.cpu().numpy(), labels.cpu().numpy()))
    return {"model_md5": hashlib.md5(model).hexdigest()}
