"""Define what a search can optimise: accuracy or loss on the validation images, and the cost of the network."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from src.training.epoch import Epoch

if TYPE_CHECKING:
    from src.training.trainer import Trainer, Training


@dataclass(frozen=True)
class Objective:
    name: str  # as tune.objective names it

    @property
    def maximize(self) -> bool:
        return self.name == "accuracy"

    @property
    def key(self) -> str:
        """Return its name in tables and in MLflow."""
        return f"validation_{self.name}" if self.name in ("accuracy", "loss") else self.name

    @property
    def label(self) -> str:
        labels = {"latency": "latency (ms for an image)", "parameters": "parameters"}
        return labels.get(self.name, f"validation {self.name}")

    def of_epoch(self, epoch: Epoch) -> float:
        """Return the value of an epoch, by which trials are pruned. There are validation images in every search."""
        value = epoch.validation_accuracy if self.name == "accuracy" else epoch.validation_loss
        assert value is not None
        return value

    def of_training(self, epochs: Sequence[Epoch], measured: Mapping[str, Any]) -> float:
        """Return the value of a finished training: what was measured after it, or the best of its epochs."""
        if self.name in measured:
            return float(measured[self.name])
        return (max if self.maximize else min)(map(self.of_epoch, epochs))

    def words(self, value: float) -> str:
        formats = {"accuracy": f"{100 * value:.2f} %", "latency": f"{value:.3g} ms", "parameters": f"{value:,.0f}"}
        return formats.get(self.name, f"{value:.4f}")


def measure(objectives: Sequence[str], trainer: "Trainer", training: "Training") -> dict[str, Any]:
    """Return the MD5 of the file that the stage train would write, and what the objectives need."""
    from src.compute.forward import latency, logits  # import torch, which only workers need
    from src.evaluation.calibration import calibrated
    from src.models.layers import count_parameters
    from src.models.model_file import content

    outputs, labels = logits(training.learned, training.validation), training.validation.labels
    model = content(training.classifier, calibrated(training.spec, outputs.cpu().numpy(), labels.cpu().numpy()))
    found: dict[str, Any] = {"model_md5": hashlib.md5(model).hexdigest()}
    if "parameters" in objectives:
        found["parameters"] = count_parameters(training.classifier)
    if "latency" in objectives:
        found["latency"] = latency(training.classifier, trainer.images["validation"])
    return found
