"""Every operator of training, evaluation and attack is known to be deterministic on CUDA (see operators), and none of a
backward pass waits for the device.

They are watched on the CPU, and those of torchvision's networks on torch's device meta, where tensors have a shape
alone. Which operators a gradient is made of does not depend on the device, but for two: attention, which torch computes
there from products and a softmax, has kernels of its own on CUDA (flash and memory-efficient; by torch's source both
take a deterministic form), and so has batch norm (cuDNN's).
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from augment_samples import ALONE, settings
from device_samples import FAMILIES, LOSSES, RECIPES, of_family, recipe
from evaluation_samples import section as evaluation
from operators import UNSAFE, WAITING, Log, documented
from torch import Tensor, nn
from torchvision.models import get_model_builder
from training_samples import CPU

from src.compute.batches import Batches
from src.compute.device import check_gradient
from src.core.errors import UserError
from src.evaluation.corruptions import gradient_signs
from src.evaluation.robustness import robustness
from src.evaluation.tta import tta_metrics
from src.models.file import Shapes
from src.params import Loss
from src.params.networks import TORCHVISION
from src.training import augment
from src.training.losses import Target
from src.training.step import TrainStep

MNIST, CIFAR10_VGG = "mnist", "cifar10-vgg"
META = torch.device("meta")


pytestmark = pytest.mark.usefixtures("deterministic")


@pytest.fixture
def backward(monkeypatch: pytest.MonkeyPatch) -> Log:
    """The log of all backward passes of training."""
    log, plain = Log(), Tensor.backward

    def logged(loss: Tensor) -> None:
        with log:
            plain(loss)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Tensor, "backward", logged)
    return log


def stepped(name: str, **changes: Any) -> Log:
    """Trains a recipe with these changes for a step; the log from stored images on."""
    classifier, section, data = recipe(name, **changes)
    batches = Batches(data, CPU.device)
    train_step = TrainStep(classifier, section, batches.labels, CPU)
    classifier.train()
    ((images, labels),) = batches.take(torch.arange(8), 8)
    draws = augment.draw(section.augment, 8, (images.shape[1], images.shape[2]), torch.Generator().manual_seed(0))
    log = Log()
    with log:
        images, mix = augment.apply(section.augment, images, draws)
        train_step.step(images, Target.of(labels, mix), 1e-3, 1)
    return log


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_of_a_recipe(name: str, backward: Log) -> None:
    assert stepped(name).not_deterministic() == []
    assert backward.names >= {"convolution_backward", "_log_softmax_backward_data"}
    assert not backward.names & WAITING


@pytest.mark.parametrize("loss", LOSSES, ids=lambda section: section.name)
def test_a_step_of_a_loss(loss: Loss, backward: Log) -> None:
    assert stepped(MNIST, loss=loss).not_deterministic() == []
    assert not backward.names & WAITING


EVERYTHING: dict[str, Any] = {
    "accumulate": 2, "clip_gradient": 1.0, "ema": 0.9, "l1_penalty": 1e-4, "decay_biases": False,
    "augment": settings(**ALONE, mixup=0.2, cutmix=1.0),
}  # fmt: skip


def test_a_step_with_all_that_it_may_have(backward: Log) -> None:
    assert stepped(CIFAR10_VGG, **EVERYTHING).not_deterministic() == []
    assert not backward.names & WAITING


def test_evaluation() -> None:
    classifier, _, data = recipe(CIFAR10_VGG)
    stored = Batches(data, CPU.device)
    wanted = evaluation("flip_shift", 1, shifts=1, noise=[0.1], salt_pepper=[0.1], fgsm=[0.1])
    with Log() as log:
        robustness(CPU.place(classifier), stored, wanted.robustness, 8)
        tta_metrics(classifier, stored, wanted)
    assert "convolution_backward" in log.names
    assert log.not_deterministic() == []


def gradients(name: str, size: int = 224) -> Log:
    """The log of a network of torchvision: its weights' gradient in training, its pixels' in the attack."""
    with Shapes():
        classifier = of_family(name, size).to(META)
    images = torch.zeros(4, size, size, 3, dtype=torch.uint8, device=META)
    labels = torch.zeros(4, dtype=torch.int64, device=META)
    log = Log()
    with log:
        F.cross_entropy(classifier.train()(images), labels).backward()  # type: ignore[no-untyped-call]
        gradient_signs(classifier.eval(), images, labels)
    return log


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradients_of_a_network_of_torchvision(name: str) -> None:
    log = gradients(name)
    assert log.not_deterministic() == []
    assert not log.names & WAITING


def test_every_module_of_torchvision_has_its_network_among_them() -> None:
    modules = {name: get_model_builder(name).__module__ for name in TORCHVISION}
    assert sorted(modules[name] for name in FAMILIES) == sorted(set(modules.values()))


@pytest.mark.parametrize(("name", "size"), [("alexnet", "6×6"), ("vgg11", "7×7")])
def test_pooling_that_cuda_cannot_differentiate_is_told(name: str, size: str) -> None:
    told = [f"{operator} has no deterministic kernel on CUDA" for operator in UNSAFE["AdaptiveAvgPool2d"]]
    assert gradients(name, 64).not_deterministic() == told
    cuda = torch.device("cuda")
    with Shapes():
        fitting, classifier = of_family(name), of_family(name, 64)
    with pytest.raises(UserError, match=rf"^train\.deterministic is true, .* {size} .* data\.image_size to 224"):
        check_gradient(classifier, cuda)
    check_gradient(fitting, cuda)
    check_gradient(classifier, CPU.device)
    torch.set_deterministic_debug_mode("default")
    check_gradient(classifier, cuda)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (nn.AdaptiveMaxPool2d(1), "adaptive_max_pool2d_backward has no deterministic kernel on CUDA"),
        (
            nn.Upsample(scale_factor=2, mode="bilinear"),
            "upsample_bilinear2d_backward has no deterministic kernel on CUDA",
        ),
        (nn.Mish(), "mish_backward is in neither list of operators.py"),
    ],
)
def test_an_operator_that_is_unsafe_or_unknown_is_told_by_name(layer: nn.Module, told: str) -> None:
    with Log() as log:
        layer(torch.zeros(1, 2, 4, 4, requires_grad=True)).sum().backward()
    assert told in log.not_deterministic()


def test_the_table_has_all_that_torch_documents() -> None:
    assert {"AdaptiveMaxPool2d", "grid_sample", "put_"} <= documented() <= set(UNSAFE)
