"""One step of training: loss and gradient of a batch, and what the optimiser makes of them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_

from src import params
from src.compute.device import Compute
from src.faults import Fault
from src.models.classifier import Classifier
from src.models.layers import last_layer
from src.training.average import Average
from src.training.losses import Target, loss_function
from src.training.optimizers import decayed, optimizer


class Learner:
    """A classifier on its device, with the loss and the optimiser that the `train` section names.

    kept: the classifier that is validated and kept: the same one, or the moving average of its weights.
    """

    def __init__(self, classifier: Classifier, section: params.Train, labels: Tensor, compute: Compute) -> None:
        # L-BFGS lays all gradients end to end, which torch only does with contiguous ones.
        layout = torch.contiguous_format if section.optimizer.name == "lbfgs" else torch.channels_last
        self.classifier = classifier.to(compute.device).to(memory_format=layout)
        self.section, self.compute = section, compute
        self.optimiser = optimizer(section.optimizer, classifier, section.decay_biases)
        self.loss = loss_function(section.loss, labels, len(last_layer(classifier.network)[1].weight), compute.device)
        self.average = None if section.ema is None else Average(classifier, section.ema)
        self.kept = classifier if self.average is None else self.average.classifier
        self.part_size = section.batch_size // section.accumulate  # images that are computed at once
        if self.part_size == 1 and any(isinstance(layer, _BatchNorm) for layer in classifier.modules()):
            raise Fault("batch norm cannot learn from single images: train.batch_size / accumulate must be at least 2")

    def state(self) -> dict[str, Any]:
        """What changes while it learns: the tensors themselves, not copies."""
        return {
            "weights": self.classifier.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.classifier.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave, on any device."""
        self.classifier.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.classifier.load_state_dict(state["average"])

    def step(self, images: Tensor, target: Target, lr: float, number: int) -> tuple[Tensor, Tensor]:
        """Learns the batch of step `number`, counted from 1 through all epochs.

        Returns its mean loss without penalties and the number of correct answers, both still on the device.
        """
        evaluations: list[tuple[Tensor, Tensor]] = []

        def gradient() -> Any:
            self.classifier.zero_grad(set_to_none=True)
            evaluations.append(self._accumulate(images, target))
            penalty = self._penalise()
            if self.section.clip_gradient is not None:
                clip_grad_norm_(self.classifier.parameters(), self.section.clip_gradient)
            return evaluations[-1][0] + penalty

        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step(gradient)
        if self.average is not None:
            self.average.update(number)
        return evaluations[0]  # L-BFGS evaluates a batch several times

    def _accumulate(self, images: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Adds up loss, gradient and correct answers of the parts of a batch."""
        loss, correct = torch.zeros((), device=images.device), torch.zeros_like(target.labels[0])
        for part, part_target in zip(torch.split(images, self.part_size), target.split(self.part_size), strict=True):
            with self.compute.autocasting():
                outputs = self.classifier(part)
                part_loss = part_target.loss(self.loss, outputs.float()) * (len(part) / len(images))
            part_loss.backward()  # type: ignore[no-untyped-call]
            loss += part_loss.detach()
            correct += part_target.correct(outputs.detach())
        return loss, correct

    def _penalise(self) -> Tensor | float:
        """Adds the gradient of the L1 penalty (weight decay, the L2 penalty, is the optimiser's) and returns it."""
        if not self.section.l1_penalty:
            return 0.0
        sizes = [weight.abs().sum() for weight in decayed(self.classifier, self.section.decay_biases)]
        penalty = self.section.l1_penalty * torch.stack(sizes).sum()
        penalty.backward()  # type: ignore[no-untyped-call]
        return penalty.detach()
