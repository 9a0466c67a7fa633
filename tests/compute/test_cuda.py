"""What only a GPU can show: equal bits, no waiting, recorded and compiled steps. Marked `gpu`; takes seconds on one.

    python -m pytest tests/compute/test_cuda.py -m gpu
    python -m pytest tests/compute/test_cuda.py -m gpu -o filterwarnings=default    without pytest-timeout

Several GPUs, which exchange gradients by NCCL, are tried nowhere, for want of a machine that has them; test_processes
tries several processes on CPUs.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from augment_samples import settings
from device_samples import FAMILIES, OPTIMIZERS, RECIPES, of_family, recipe
from torch import Tensor, nn

from src import params
from src.compute import cuda_graph, device
from src.compute.batches import Batches
from src.compute.cuda_graph import RecordedStep
from src.compute.device import Compute
from src.compute.forward import latency
from src.core.errors import out_of_memory
from src.evaluation.corruptions import gradient_signs
from src.models.classifier import Classifier
from src.params import Optimizer, writing
from src.tracking import cost
from src.training import reports
from src.training.loop import train
from src.training.losses import Target
from src.training.resume import Progress
from src.training.step import TrainStep

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]

MNIST, CIFAR10_VGG, SPEED = ("mnist", "cifar10-vgg", "cifar10-speed")
IMAGES, BATCH_SIZE = 500, 128
STEPS = 4  # of an epoch; the last batch is smaller
TRAINING = {"device": "cuda", "deterministic": True, "batch_size": BATCH_SIZE}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


# What no recipe does, as changes of a recipe's `train`.
POLICIES: list[dict[str, Any]] = [
    {"augment": settings(policy="trivial"), "sampling": "balanced"},
    {"augment": settings(policy={"name": "rand", "operations": 2, "magnitude": 0.3}, cutmix=1.0)},
]
CHANGES: list[dict[str, Any]] = [
    {"accumulate": 2},
    {"ema": 0.9, "clip_gradient": 1.0},
    {"l1_penalty": 1e-4},
    {"frozen_norms": True},
    *POLICIES,
]


def prepared(
    name: str, *, frozen_norms: bool = False, **changes: Any
) -> tuple[Classifier, params.Train, Batches, Compute]:
    """frozen_norms: as `model.freeze: batch_norm`, which wants pretrained weights, leaves them."""
    classifier, section, data = recipe(name, IMAGES, **TRAINING | changes)
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm2d) and frozen_norms:
            layer.requires_grad_(False)
    compute = device.prepare(section, writing.load_recipe(name).model.name)
    return classifier, section, Batches(data, compute.device), compute


def trained(name: str, **changes: Any) -> tuple[list[float], Tensor]:
    """Return the losses of two epochs and the weights after them."""
    classifier, section, data, compute = prepared(name, **changes)
    losses = [epoch.train_loss for epoch in train(classifier, data, data, section, 0, compute)]
    return losses, torch.cat([tensor.flatten().double() for tensor in classifier.state_dict().values()])


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in RECIPES), *((CIFAR10_VGG, change) for change in CHANGES)]
)
def test_a_recorded_step_gives_the_bits_of_one_that_runs(
    name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, weights = trained(name, **changes)
    monkeypatch.setattr(cuda_graph, "WARM", 10**9)
    ran_losses, ran_weights = trained(name, **changes)
    assert losses == ran_losses
    assert torch.equal(weights, ran_weights)


def test_a_step_that_need_not_be_deterministic_can_be_recorded() -> None:
    """cuDNN then chooses its algorithms by timing, before the recording."""
    assert np.isfinite(trained(CIFAR10_VGG, deterministic=False)[0]).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_of_a_network_of_torchvision_can_be_recorded(name: str) -> None:
    *_, compute = prepared(MNIST)
    classifier = compute.place(of_family(name)).train()
    optimiser = torch.optim.SGD(classifier.parameters(), 1e-3, fused=True)

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        optimiser.zero_grad()
        with compute.autocasting():
            loss = F.cross_entropy(classifier(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return (loss.detach(),)

    images = torch.randint(0, 256, (4, 224, 224, 3), dtype=torch.uint8, device=compute.device)
    recorded_step = RecordedStep(compute.device)
    losses = [float(recorded_step(step, images, torch.arange(4, device=compute.device))[0]) for _ in range(6)]
    assert len(set(losses)) == 6, "the weights move"


def train_with_alarm(name: str, **changes: Any) -> None:
    """Train, and raise where the host waits between the first and the last step of the second epoch."""
    step = TrainStep.step

    def watched(train_step: TrainStep, *arguments: Any) -> Any:
        epoch, number = divmod(arguments[-1] - 1, STEPS)
        if epoch == 1 and number == 0:
            torch.cuda.set_sync_debug_mode("error")
        result = step(train_step, *arguments)
        if number == STEPS - 1:
            torch.cuda.set_sync_debug_mode("default")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStep, "step", watched)
        trained(name, **changes)


@pytest.mark.parametrize(("name", "changes"), [*((name, {}) for name in RECIPES), *((MNIST, one) for one in POLICIES)])
def test_a_recipe_never_waits_within_an_epoch(name: str, changes: dict[str, Any]) -> None:
    train_with_alarm(name, **changes)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda section: section.name)
def test_no_optimiser_waits_but_lbfgs(optimizer: Optimizer) -> None:
    if optimizer.name == "lbfgs":
        with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
            train_with_alarm(MNIST, optimizer=optimizer)
    else:
        train_with_alarm(MNIST, optimizer=optimizer)


def gradients_after_steps(compiled: bool) -> list[Tensor]:
    """Return the gradients of a batch in two parts, at a learning rate of 0, after a step has been replayed."""
    torch._dynamo.reset()
    classifier, section, data, compute = prepared(SPEED, compile=compiled, accumulate=2, precision="float32")
    train_step = TrainStep(classifier, section, data.labels, compute)
    classifier.train()
    ((images, labels),) = data.take(torch.arange(BATCH_SIZE), BATCH_SIZE)
    for number in range(1, 6):
        train_step.step(images, Target(labels), 0.0, number)
    return [weight.grad.clone() for weight in classifier.parameters() if weight.grad is not None]


def test_compiled_the_gradients_of_parts_add_up() -> None:
    for compiled, eager in zip(gradients_after_steps(True), gradients_after_steps(False), strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-2, atol=1e-4)


def test_compiled_a_training_gives_the_same_bits_twice() -> None:
    results = []
    for _ in range(2):
        torch._dynamo.reset()
        results.append(trained(SPEED, compile=True))
    (losses, weights), (losses_again, weights_again) = results
    assert losses == losses_again
    assert torch.equal(weights, weights_again)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradients_of_a_network_of_torchvision_are_the_same_twice(name: str) -> None:
    """Of the weights in training and of the pixels in the attack; torch raises if a kernel is not deterministic."""
    *_, compute = prepared(MNIST)
    classifier = compute.place(of_family(name))
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8))
    images, labels = pixels.to(compute.device), torch.arange(4, device=compute.device)

    def gradients() -> list[Tensor]:
        classifier.zero_grad()
        torch.manual_seed(0)  # dropout
        with compute.autocasting():
            F.cross_entropy(classifier.train()(images), labels).backward()  # type: ignore[no-untyped-call]
        weights = [weight.grad for weight in classifier.parameters() if weight.grad is not None]
        return [*(gradient.clone() for gradient in weights), gradient_signs(classifier.eval(), images, labels)]

    first = gradients()
    classifier.load_state_dict(compute.place(of_family(name)).state_dict())  # the statistics of batch norm too
    assert all(torch.equal(*pair) for pair in zip(first, gradients(), strict=True))


def test_outputs_are_those_of_the_cpu() -> None:
    classifier, _, data, compute = prepared(CIFAR10_VGG, precision="float32")
    ((images, _),) = data.take(torch.arange(16), 16)
    with torch.no_grad():
        expected = classifier.eval()(images.cpu())
        torch.testing.assert_close(compute.place(classifier)(images).cpu(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in RECIPES), *((MNIST, {"optimizer": one}) for one in OPTIMIZERS)]
)
def test_a_resumed_training_ends_with_the_same_bits(name: str, changes: dict[str, Any]) -> None:
    _, expected = trained(name, **changes)
    classifier, section, data, compute = prepared(name, **changes)
    progress, kept = Progress(), io.BytesIO()
    next(train(classifier, data, data, section, 0, compute, progress))
    torch.save(progress.state(), kept)

    classifier, section, data, compute = prepared(name, **changes)
    resumed = Progress()
    resumed.restore(torch.load(io.BytesIO(kept.getvalue()), weights_only=True))
    (epoch,) = train(classifier, data, data, section, 0, compute, resumed)
    assert epoch.number == 2
    assert torch.equal(torch.cat([tensor.flatten().double() for tensor in classifier.state_dict().values()]), expected)


def test_the_cost_of_a_training_names_the_gpu_and_its_memory(root: Path) -> None:
    classifier, section, data, compute = prepared(MNIST)
    epochs = list(train(classifier, data, data, section, 0, compute))
    cost.write("md5", reports.environment(compute, 1), epochs, latency(classifier, data))
    found = cost.read("md5")
    assert found["machine"] == f"1 × {torch.cuda.get_device_name()}"
    assert all(found[name] > 0 for name in ("training_seconds", "peak_memory_gib", "latency_ms"))


def test_memory_that_does_not_suffice_is_recognised() -> None:
    """The limit is of this process alone: other tests may run beside it."""
    classifier, section, data = recipe(CIFAR10_VGG, 16_384, **TRAINING | {"batch_size": 16_384})
    compute = device.prepare(section, "cifar_vgg")
    images = Batches(data, compute.device)
    torch.cuda.set_per_process_memory_fraction(2**30 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(RuntimeError) as raised:
            list(train(classifier, images, images, section, 0, compute))
        assert out_of_memory(raised.value)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
