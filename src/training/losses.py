"""Losses by name, for training alone: models are always compared by cross entropy and accuracy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from src import params
from src.core.errors import UserError
from src.params.training import Unweighted
from src.training.augment import Mix

Loss = Callable[[Tensor, Tensor], Tensor]


def loss_function(config: params.Loss, labels: Tensor, classes: int, device: torch.device) -> Loss:
    """Return a function of float32 logits (N, K) and int64 labels (N,) that gives the loss of each image (N,).

    labels: all training labels (M,), from which `balanced` class weights are computed: M / (C · images of the class),
    where C classes have images, so that these count alike and the mean weight of an image is 1. Weighted losses are
    divided by the number of images, not by the sum of their weights, so that what an image contributes does not depend
    on its batch. Raises `UserError` if there are not as many class weights as classes.
    """
    if isinstance(config, Unweighted):
        return _ONE_HOT[config.name]
    weights = None
    if isinstance(config.class_weights, list):
        if len(config.class_weights) != classes:
            raise UserError(
                f"train.loss.class_weights has {len(config.class_weights)} numbers for {classes} classes: "
                "give one for each"
            )
        weights = torch.tensor(config.class_weights, dtype=torch.float32, device=device)
    elif config.class_weights == "balanced":
        counts = torch.bincount(labels.cpu(), minlength=classes)
        weights = (len(labels) / ((counts > 0).sum() * counts.clamp(min=1))).to(device, torch.float32)
    if config.name == "multi_margin":
        return lambda logits, labels: F.multi_margin_loss(logits, labels, weight=weights, reduction="none")
    # Szegedy et al., 2016 (arXiv 1512.00567): label smoothing. NLL of the log-softmax is cross entropy without it.
    smoothing = config.label_smoothing if config.name == "cross_entropy" else 0.0
    return lambda logits, labels: F.cross_entropy(
        logits, labels, weight=weights, label_smoothing=smoothing, reduction="none"
    )


@dataclass(frozen=True)
class Target:
    """Hold the labels (B,) of a batch; for mixed images also a second label and the share of the first, (B,) each."""

    labels: Tensor
    others: Tensor | None = None
    share: Tensor | None = None

    @classmethod
    def of(cls, labels: Tensor, mix: Mix | None) -> Self:
        """Make the target of images with these labels (B,), mixed or not."""
        return cls(labels) if mix is None else cls(labels, labels[mix.partner], mix.weight)

    def split(self, size: int) -> list[Self]:
        """Return the same in parts of `size` images."""
        columns = [torch.split(column, size) for column in self.columns()]
        return [type(self)(*part) for part in zip(*columns, strict=True)]

    def columns(self) -> list[Tensor]:
        """Return the tensors that there are, in their order."""
        return [column for column in (self.labels, self.others, self.share) if column is not None]

    def loss(self, function: Loss, logits: Tensor) -> Tensor:
        """Return the mean loss of the images; of a mixed image, each label's loss counts by its share."""
        own = function(logits, self.labels)
        if self.others is None or self.share is None:
            return own.mean()
        return torch.lerp(function(logits, self.others), own, self.share).mean()

    def correct(self, logits: Tensor) -> Tensor:
        """Count the images that get the label with the larger share."""
        labels = self.labels
        if self.others is not None and self.share is not None:
            labels = torch.where(self.share < 0.5, self.others, labels)
        return (logits.argmax(dim=1) == labels).sum()


def _one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, logits.shape[1]).to(logits.dtype)


def _binary(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of K binary cross entropies of sigmoids: one class against the rest."""
    return F.binary_cross_entropy_with_logits(logits, _one_hot(logits, labels), reduction="none").mean(dim=1)


def _squared(logits: Tensor, labels: Tensor) -> Tensor:
    """Return Brier's score of the softmax probabilities, divided by K."""
    return F.mse_loss(logits.softmax(dim=1), _one_hot(logits, labels), reduction="none").mean(dim=1)


def _absolute(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 2/K times the probability of the wrong classes, which wrong labels harm little.

    Ghosh et al., 2017 (arXiv 1712.09482).
    """
    return F.l1_loss(logits.softmax(dim=1), _one_hot(logits, labels), reduction="none").mean(dim=1)


_ONE_HOT: dict[str, Loss] = {"bce": _binary, "mse": _squared, "l1": _absolute}
