"""One step of training: loss and gradient of a batch, the optimiser's step, the moving average of the weights."""

import copy
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src import params
from src.compute import distributed
from src.compute.compiler import compiled
from src.compute.cuda_graph import RecordedStep
from src.compute.device import Compute
from src.core.errors import UserError
from src.models.classifier import Classifier
from src.models.layers import is_frozen, last_layer
from src.training.losses import Target, loss_function
from src.training.optimizers import RECORDABLE, is_decayed, optimizer, place_rates, set_rates


class Average:
    """Keep in `classifier` a copy whose weights and running statistics are the moving average of the trained one's.

    Tarvainen & Valpola, 2017 (arXiv 1703.01780). The decay of step t is min(decay, (1 + t) / (10 + t)), as in
    TensorFlow's ExponentialMovingAverage, so that the random start is soon forgotten.
    """

    def __init__(self, trained: Classifier, decay: float) -> None:
        self.classifier = copy.deepcopy(trained)
        self.decay = decay
        # Aliases of the tensors themselves, which training changes in place.
        pairs = zip(self.classifier.state_dict().values(), trained.state_dict().values(), strict=True)
        self._pairs = [pair for pair in pairs if pair[0].is_floating_point()]

    def update(self, step: int) -> None:
        """Take in the weights after step `step` of training, counted from 1."""
        update = get_ema_multi_avg_fn(min(self.decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        update([average for average, _ in self._pairs], [present for _, present in self._pairs], step)


class TrainStep:
    """Hold a classifier on its device, with the loss and the optimiser that `params.Train` names.

    kept: the classifier that is validated and kept: the trained one, or the moving average of its weights.
    """

    def __init__(self, classifier: Classifier, config: params.Train, labels: Tensor, compute: Compute) -> None:
        self.classifier = distributed.sync_batch_norm(compute.place(classifier), compute.device)
        if config.optimizer.name == "lbfgs":  # torch's joins all gradients, which must be contiguous
            self.classifier.to(memory_format=torch.contiguous_format)
        self.weights = list(self.classifier.parameters())
        self.config, self.compute = config, compute
        self.optimiser = optimizer(
            config.optimizer, classifier, config.decay_biases, config.first_layer_lr, compiled=config.compile
        )
        # float16 has no numbers below 6e-8: unless they are scaled up, small gradients are lost.
        self.scaler = torch.GradScaler(compute.device.type, enabled=compute.autocast is torch.float16)
        self.loss = loss_function(config.loss, labels, len(last_layer(classifier.network)[1].weight), compute.device)
        self.average = None if config.ema is None else Average(classifier, config.ema)
        self.kept = classifier if self.average is None else self.average.classifier

        self.batch_size = config.batch_size // distributed.world_size()  # images of a batch that this process computes
        self.part_size = self.batch_size // config.accumulate  # images that are computed at once
        norms = (layer for layer in classifier.modules() if isinstance(layer, _BatchNorm))
        if self.part_size == 1 and not all(map(is_frozen, norms)):
            raise UserError(
                "batch norm cannot learn from single images: "
                "train.batch_size / processes / accumulate must be at least 2"
            )
        self.exchanging = distributed.data_parallel(self.classifier, compute.device)
        forward = self.exchanging or self.classifier
        if config.compile:
            # Sizes may be constants: all batches have the same one but the last, for which it compiles once more.
            self.forward = compiled(forward, dynamic=False)
        else:
            self.forward = forward
        # Not where processes exchange gradients, nor in float16, where the host looks at the gradients of each step.
        alone = distributed.world_size() == 1 and compute.autocast is not torch.float16
        self.recorded: RecordedStep | None = None
        if compute.device.type == "cuda" and alone and config.cuda_graph and config.optimizer.name in RECORDABLE:
            self.recorded = RecordedStep(compute.device)
            place_rates(self.optimiser, compute.device)
        self.lr = 0.0

    def state(self) -> dict[str, Any]:
        """Return all that a step changes: the tensors themselves, not copies."""
        return {
            "weights": self.classifier.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.classifier.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.classifier.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.recorded is not None:
            place_rates(self.optimiser, self.compute.device)
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.classifier.load_state_dict(state["average"])

    def step(self, images: Tensor, target: Target, lr: float, number: int) -> tuple[Tensor, Tensor]:
        """Learn the batch of step `number`, counted from 1 through all epochs.

        Return its mean loss without penalties and the number of correct answers, both on the device, and of the part of
        the batch that this process computes.
        """
        self.lr = lr
        set_rates(self.optimiser, lr)
        batch = (images, *target.columns())
        if self.recorded is not None and len(images) == self.batch_size:
            loss, correct = self.recorded(self._learn, *batch)
        else:  # also the last batch of an epoch, which may be smaller
            loss, correct = self._learn(*batch)
        if self.average is not None:
            self.average.update(number)
        return loss, correct

    def _learn(self, images: Tensor, *columns: Tensor) -> tuple[Tensor, Tensor]:
        """Learn a batch; return its loss and correct answers. columns: of its `Target`."""
        target = Target(*columns)
        if self.config.optimizer.name != "lbfgs":
            loss, correct, _ = self._gradient(images, target)
            self.scaler.step(self.optimiser)
            self.scaler.update()
            return loss, correct
        evaluations: list[tuple[Tensor, Tensor]] = []  # of the same batch; the first is before any change

        def objective() -> Tensor:
            loss, correct, penalty = self._gradient(images, target)
            evaluations.append((loss, correct))
            return loss + penalty

        self.optimiser.step(objective)  # type: ignore[arg-type]
        return evaluations[0]

    def _gradient(self, images: Tensor, target: Target) -> tuple[Tensor, Tensor, Tensor | float]:
        """Store the gradient of a batch in the weights' `grad`; return its loss, correct answers and L1 penalty."""
        for weight in self.weights:
            weight.grad = None
        parts = list(zip(torch.split(images, self.part_size), target.split(self.part_size), strict=True))
        losses, right = [], []
        for number, (part, part_target) in enumerate(parts, start=1):
            # Several processes exchange gradients once for a batch.
            with self.exchanging.no_sync() if self.exchanging and number < len(parts) else nullcontext():
                with self.compute.autocasting():
                    outputs = self.forward(part)
                    loss = part_target.loss(self.loss, outputs.float())
                    if len(parts) > 1:
                        loss = loss * (len(part) / len(images))
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            right.append(part_target.correct(outputs.detach()))
        self.scaler.unscale_(self.optimiser)

        penalty: Tensor | float = 0.0
        if self.config.l1_penalty:  # weight decay, the L2 penalty, is the optimiser's
            learned = [weight for weight in self.weights if weight.requires_grad]
            sizes = [weight.abs().sum() for weight in learned if is_decayed(weight, self.config.decay_biases)]
            penalty = self.config.l1_penalty * torch.stack(sizes).sum()
            penalty.backward()  # type: ignore[no-untyped-call]
            penalty = penalty.detach()
        if self.config.clip_gradient is not None:
            clip_grad_norm_(self.weights, self.config.clip_gradient)
        loss, correct = (
            (losses[0], right[0]) if len(parts) == 1 else (torch.stack(losses).sum(), torch.stack(right).sum())
        )
        return loss, correct, penalty
