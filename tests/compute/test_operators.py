"""No operator of training, evaluation and attack is one that torch documents as not deterministic on CUDA.

They are watched on the CPU, and those of torchvision's networks on torch's device meta, where tensors have a shape
alone. Which operators a gradient is made of does not depend on the device, but for attention and batch norm, whose own
kernels on CUDA torch's list does not name.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from device_samples import EVERYTHING, FAMILIES, LOSSES, RECIPES, of_family, recipe
from evaluation_samples import corrupted
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from training_samples import CPU

from src.compute.batches import Batches
from src.evaluation.corruptions import gradient_signs
from src.evaluation.robustness import robustness
from src.evaluation.tta import tta_metrics
from src.models.model_file import Shapes
from src.training import augment
from src.training.losses import Target
from src.training.step import TrainStep

pytestmark = pytest.mark.usefixtures("deterministic")

# What torch's `use_deterministic_algorithms` documents to raise an error on CUDA, of images and their labels.
OPERATORS = {
    "_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward", "max_unpool2d",
    "upsample_bilinear2d_backward", "_upsample_bilinear2d_aa_backward", "upsample_bicubic2d_backward",
    "_upsample_bicubic2d_aa_backward", "reflection_pad2d_backward", "nll_loss2d_forward",
    "_embedding_bag_dense_backward", "put", "histc", "bincount", "kthvalue", "median", "nanmedian",
    "grid_sampler_2d_backward", "scatter_reduce", "resize",
}  # fmt: skip


class Log(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The names of the operators that run within it, without the underscore of those that work in place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._opname.removesuffix("_"))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in RECIPES), *(("mnist", {"loss": loss}) for loss in LOSSES), ("cifar10-vgg", EVERYTHING)],
    ids=str,
)
def test_a_step_from_stored_images_on(name: str, changes: dict[str, Any]) -> None:
    classifier, section, data = recipe(name, **changes)
    batches = Batches(data, CPU.device)
    train_step = TrainStep(classifier, section, batches.labels, CPU)
    classifier.train()
    ((images, labels),) = batches.take(torch.arange(8), 8)
    draws = augment.draw(section.augment, 8, (images.shape[1], images.shape[2]), torch.Generator().manual_seed(0))
    with Log() as log:
        images, mix = augment.apply(section.augment, images, draws)
        train_step.step(images, Target.of(labels, mix), 1e-3, 1)
    assert "convolution_backward" in log.names
    assert not log.names & OPERATORS


def test_evaluation() -> None:
    classifier, _, data = recipe("cifar10-vgg")
    stored = Batches(data, CPU.device)
    wanted = corrupted(shifts=1, noise=[0.1], salt_pepper=[0.1], fgsm=[0.1])
    with Log() as log:
        robustness(CPU.place(classifier), stored, wanted, 8)
        tta_metrics(classifier, stored, "flip_diagonal", CPU)
    assert "convolution_backward" in log.names
    assert not log.names & OPERATORS


@pytest.mark.parametrize(("name", "size"), [*((name, 224) for name in FAMILIES), ("alexnet", 64), ("vgg11", 64)])
def test_the_gradients_of_a_network_of_torchvision(name: str, size: int) -> None:
    """Its weights' in training, its pixels' in the attack; of the pooling that needs another size `src.core.errors`
    tells. It has a last layer for our classes."""
    meta = torch.device("meta")
    with Shapes():  # as where a model's file is read
        classifier = of_family(name, size)
    assert all(weight.is_meta for weight in classifier.parameters()), "nothing takes memory"
    classifier.to(meta)
    images = torch.zeros(4, size, size, 3, dtype=torch.uint8, device=meta)
    labels = torch.zeros(4, dtype=torch.int64, device=meta)
    with Log() as log:
        outputs = classifier.train()(images)
        assert outputs.shape == (4, 10)
        F.cross_entropy(outputs, labels).backward()  # type: ignore[no-untyped-call]
        gradient_signs(classifier.eval(), images, labels)
    assert log.names & OPERATORS == (set() if size == 224 else {"_adaptive_avg_pool2d_backward"})
