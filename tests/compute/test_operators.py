"""No operator of training, evaluation and attack is one that torch documents as not deterministic on CUDA.

They are watched on the CPU, and those of torchvision's networks on torch's device meta, where tensors have a shape
alone. Which operators a gradient is made of does not depend on the device, but for attention and batch norm, whose own
kernels on CUDA torch's list does not name.
"""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from augment_samples import ALONE, settings
from device_samples import FAMILIES, LOSSES, RECIPES, of_family, recipe
from evaluation_samples import section as evaluation
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

# What torch lists as raising where `deterministic` is true, by the name in its list. What the list says of a function
# may hold for one kernel alone: of `NLLLoss` for that of images, of `median` for the one that gives indices.
UNSAFE: dict[str, tuple[str, ...]] = {
    "AvgPool3d": ("avg_pool3d_backward",),
    "AdaptiveAvgPool2d": ("_adaptive_avg_pool2d_backward",),
    "AdaptiveAvgPool3d": ("_adaptive_avg_pool3d_backward",),
    "AdaptiveMaxPool2d": ("adaptive_max_pool2d_backward",),
    "FractionalMaxPool2d": ("fractional_max_pool2d_backward",),
    "FractionalMaxPool3d": ("fractional_max_pool3d_backward",),
    "MaxPool3d": ("max_pool3d_with_indices_backward",),
    "MaxUnpool1d": ("max_unpool2d",),
    "MaxUnpool2d": ("max_unpool2d",),
    "MaxUnpool3d": ("max_unpool3d",),
    "interpolate": (
        "upsample_linear1d_backward", "upsample_bilinear2d_backward", "_upsample_bilinear2d_aa_backward",
        "upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward", "upsample_trilinear3d_backward",
    ),
    "ReflectionPad1d": ("reflection_pad1d_backward",),
    "ReflectionPad2d": ("reflection_pad2d_backward",),
    "ReflectionPad3d": ("reflection_pad3d_backward",),
    "NLLLoss": ("nll_loss2d_forward",),
    "CTCLoss": ("_ctc_loss_backward",),
    "EmbeddingBag": ("_embedding_bag_dense_backward",),
    "put_": ("put",),
    "histc": ("histc",),
    "bincount": ("bincount",),
    "cumsum": (),  # of floats, which are not summed here, in torch 2.11; later it has a deterministic kernel
    "kthvalue": ("kthvalue",),
    "median": ("median", "nanmedian"),
    "grid_sample": ("grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    "scatter_reduce": ("scatter_reduce",),
    "resize_": ("resize",),
}  # fmt: skip
OPERATORS = {name for names in UNSAFE.values() for name in names}


class Log(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The names of the operators that run within it, without the underscore of those that work in place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._opname.removesuffix("_"))
        return func(*args, **(kwargs or {}))


def test_the_table_has_all_that_torch_documents() -> None:
    """But for what raises on Apple's GPU alone."""
    text = " ".join((torch.use_deterministic_algorithms.__doc__ or "").split())
    raising = text.partition("will throw a :class:`RuntimeError` when ``mode=True``:")[2].partition("In addition")[0]
    named = [entry for entry in raising.split(" * ")[1:] if "MPS" not in entry or "CUDA" in entry]
    documented = {name for entry in named for name in re.findall(r"^:\w+:`(?:\w+\.)*(\w+)`", entry)}
    assert {"AdaptiveMaxPool2d", "grid_sample", "put_"} <= documented <= set(UNSAFE)


EVERYTHING: dict[str, Any] = {
    "accumulate": 2, "clip_gradient": 1.0, "ema": 0.9, "l1_penalty": 1e-4, "decay_biases": False,
    "augment": settings(**ALONE, mixup=0.2, cutmix=1.0),
}  # fmt: skip


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
    wanted = evaluation("flip_shift", 1, shifts=1, noise=[0.1], salt_pepper=[0.1], fgsm=[0.1])
    with Log() as log:
        robustness(CPU.place(classifier), stored, wanted.robustness, 8)
        tta_metrics(classifier, stored, wanted)
    assert "convolution_backward" in log.names
    assert not log.names & OPERATORS


@pytest.mark.parametrize(("name", "size"), [*((name, 224) for name in FAMILIES), ("alexnet", 64), ("vgg11", 64)])
def test_the_gradients_of_a_network_of_torchvision(name: str, size: int) -> None:
    """Its weights' in training, its pixels' in the attack; the pooling that needs another size is told by
    `check_gradient`."""
    meta = torch.device("meta")
    with Shapes():
        classifier = of_family(name, size).to(meta)
    images = torch.zeros(4, size, size, 3, dtype=torch.uint8, device=meta)
    labels = torch.zeros(4, dtype=torch.int64, device=meta)
    with Log() as log:
        F.cross_entropy(classifier.train()(images), labels).backward()  # type: ignore[no-untyped-call]
        gradient_signs(classifier.eval(), images, labels)
    assert log.names & OPERATORS == (set() if size == 224 else {"_adaptive_avg_pool2d_backward"})
