"""Training and evaluation on CUDA without a GPU (see fake_cuda): tensors that meet lie on one device, and the host does
not wait for the device between the first step of an epoch and its last."""

import gc
import weakref
from typing import Any

import pytest
import torch
from augment_samples import settings
from device_samples import EVERYTHING, LOSSES, OPTIMIZERS, RECIPES, STEPS, recipe
from evaluation_samples import corrupted
from fake_cuda import CUDA, fake_cuda

from src.compute.batches import Batches
from src.compute.device import Compute
from src.evaluation.robustness import robustness
from src.evaluation.tta import tta_metrics
from src.params import Loss
from src.training.loop import train
from src.training.step import TrainStep

FLOAT32, BFLOAT16 = Compute(CUDA, None), Compute(CUDA, torch.bfloat16)
MNIST, CIFAR10_VGG = "mnist", "cifar10-vgg"

# A copy of a fake network, which the moving average makes, asks for its tensors' memory.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning"),
    pytest.mark.usefixtures("deterministic"),
]


def waits_of(name: str, compute: Compute, resident: bool = True, **changes: Any) -> set[str]:
    """Return where the host waited in a training of two epochs, between the first and the last step of each."""
    found: set[str] = set()
    step = TrainStep.step

    def watched(train_step: TrainStep, *arguments: Any) -> Any:
        number = (arguments[-1] - 1) % STEPS
        if number == 0:
            log.waits.clear()
        result = step(train_step, *arguments)
        if number == STEPS - 1:
            found.update(log.waits)
        return result

    with pytest.MonkeyPatch.context() as patch, fake_cuda() as log:
        patch.setattr(TrainStep, "step", watched)
        classifier, section, data = recipe(name, **changes)
        training, validation = Batches(data, CUDA, resident), Batches(data, CUDA, resident)
        assert len(list(train(classifier, training, validation, section, 0, compute))) == 2
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_never_waits_within_an_epoch(name: str) -> None:
    assert waits_of(name, BFLOAT16) == set()


def test_nor_does_it_where_images_are_read_ahead() -> None:
    """Augmented batch by batch, since images of a batch are mixed."""
    assert waits_of(CIFAR10_VGG, BFLOAT16, resident=False, augment=settings(cutmix=1.0)) == set()


@pytest.mark.parametrize("name", ["nadam", "muon", "muon_sgd", "lbfgs"])
def test_no_optimiser_waits_but_lbfgs(name: str) -> None:
    """lbfgs reads the losses of its line search."""
    (optimizer,) = (section for section in OPTIMIZERS if section.name == name)
    assert bool(waits_of(MNIST, FLOAT32, optimizer=optimizer)) == (name == "lbfgs")


@pytest.mark.parametrize("loss", LOSSES, ids=lambda section: section.name)
def test_no_loss_waits(loss: Loss) -> None:
    assert waits_of(MNIST, FLOAT32, loss=loss) == set()


def test_what_a_step_may_add_does_not_wait() -> None:
    """Augmentation too: images that are mixed are augmented batch by batch, between the steps."""
    assert waits_of(CIFAR10_VGG, BFLOAT16, **EVERYTHING) == set()


def test_what_a_training_holds_is_free_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's collector of cycles would come when it likes: late for a GPU's memory, and amid another recording."""
    held: list[weakref.ref[Any]] = []
    begin = TrainStep.__init__

    def watched(train_step: TrainStep, *arguments: Any) -> None:
        begin(train_step, *arguments)
        held.extend([weakref.ref(train_step), weakref.ref(train_step.optimiser)])

    monkeypatch.setattr(TrainStep, "__init__", watched)
    (muon,) = (section for section in OPTIMIZERS if section.name == "muon")
    gc.disable()
    try:
        waits_of(MNIST, FLOAT32, optimizer=muon)
        assert [reference() for reference in held] == [None, None]
    finally:
        gc.enable()


def test_evaluation_computes_where_the_images_are() -> None:
    classifier, _, data = recipe(CIFAR10_VGG)
    wanted = corrupted(shifts=1, noise=[0.1], salt_pepper=[0.1], fgsm=[0.1])
    with fake_cuda():
        FLOAT32.place(classifier)
        stored = Batches(data, CUDA)
        curves = robustness(classifier, stored, wanted, 8)
        assert tta_metrics(classifier, stored, "flip", FLOAT32)["tta_accuracy"] == 1  # of outputs and labels that are 0
    assert set(curves["kind"]) == {"shift", "gaussian", "salt_pepper", "fgsm"}
