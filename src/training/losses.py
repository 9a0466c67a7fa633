"""Losses by name: what training minimises. How good a model is, is always told by cross entropy and accuracy."""

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


def loss_function(section: params.Loss, labels: Tensor, classes: int, device: torch.device) -> Loss:
    """A function of float32 logits (N, K) and int64 labels (N,) that gives the loss of each image (N,).

    labels: all labels of train (M,), from which `balanced` class weights are computed. A weighted loss is divided by
    the number of images, not by the sum of their weights: what an image contributes does not depend on its batch.
    Raises `UserError` where there are more or fewer class weights than classes.
    """
    if isinstance(section, Unweighted):
        return _ONE_HOT[section.name]
    weights = _class_weights(section.class_weights, labels, classes, device)
    if section.name == "multi_margin":
        return lambda logits, labels: F.multi_margin_loss(logits, labels, weight=weights, reduction="none")
    # Szegedy et al., 2016 (arXiv 1512.00567): label smoothing. NLL of the log-softmax is cross entropy without it.
    smoothing = section.label_smoothing if section.name == "cross_entropy" else 0.0
    return lambda logits, labels: F.cross_entropy(
        logits, labels, weight=weights, label_smoothing=smoothing, reduction="none"
    )


@dataclass(frozen=True)
class Target:
    """What a batch of B images is to be taken for: its labels, (B,); of mixed images a second label and the share of
    the first, (B,) each."""

    labels: Tensor
    others: Tensor | None = None
    share: Tensor | None = None

    @classmethod
    def of(cls, labels: Tensor, mix: Mix | None) -> Self:
        return cls(labels) if mix is None else cls(labels, labels[mix.partner], mix.weight)

    def split(self, size: int) -> list[Self]:
        """The same in parts of `size` images."""
        columns = [torch.split(column, size) for column in (self.labels, self.others, self.share) if column is not None]
        return [type(self)(*part) for part in zip(*columns, strict=True)]

    def loss(self, function: Loss, logits: Tensor) -> Tensor:
        """The mean over the images; of a mixed image, each label's loss by its share."""
        own = function(logits, self.labels)
        if self.others is None or self.share is None:
            return own.mean()
        return torch.lerp(function(logits, self.others), own, self.share).mean()

    def correct(self, logits: Tensor) -> Tensor:
        """How many of the images get the label with the larger share."""
        labels = self.labels
        if self.others is not None and self.share is not None:
            labels = torch.where(self.share < 0.5, self.others, labels)
        return (logits.argmax(dim=1) == labels).sum()


def _one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, logits.shape[1]).to(logits.dtype)


def _binary(logits: Tensor, labels: Tensor) -> Tensor:
    """One against the rest: a sigmoid for every class, the mean of K binary cross entropies."""
    return F.binary_cross_entropy_with_logits(logits, _one_hot(logits, labels), reduction="none").mean(dim=1)


def _squared(logits: Tensor, labels: Tensor) -> Tensor:
    """Of the softmax probabilities: Brier's score divided by K."""
    return F.mse_loss(logits.softmax(dim=1), _one_hot(logits, labels), reduction="none").mean(dim=1)


def _absolute(logits: Tensor, labels: Tensor) -> Tensor:
    """Of the softmax probabilities: 2/K times the probability given to wrong classes; bears wrong labels well (Ghosh et
    al., 2017, arXiv 1712.09482)."""
    return F.l1_loss(logits.softmax(dim=1), _one_hot(logits, labels), reduction="none").mean(dim=1)


_ONE_HOT: dict[str, Loss] = {"bce": _binary, "mse": _squared, "l1": _absolute}


def _class_weights(
    chosen: str | list[float] | None, labels: Tensor, classes: int, device: torch.device
) -> Tensor | None:
    """(K,) or None. Balanced: M / (K · images of the class), so that every class has the same say and the mean weight
    of an image is 1; a class without images counts as if it had one."""
    if chosen is None:
        return None
    if isinstance(chosen, list):
        if len(chosen) != classes:
            raise UserError(
                f"train.loss.class_weights has {len(chosen)} numbers for {classes} classes: give one for each"
            )
        return torch.tensor(chosen, dtype=torch.float32, device=device)
    counts = torch.bincount(labels.cpu(), minlength=classes).clamp(min=1)
    return (len(labels) / (classes * counts)).to(device, torch.float32)
