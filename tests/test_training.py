"""The training loop: it learns, its randomness is a function of (seed, epoch), and it keeps the best weights."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from training_samples import CPU, NO_AUGMENT, digits, new_classifier, run, section, weights

from src import params
from src.compute import device
from src.compute.batches import Batches
from src.compute.forward import BATCH_SIZE, logits
from src.data.prepared import LabelledImages
from src.faults import Fault
from src.models.classifier import Classifier
from src.training import augment, record
from src.training.loop import measure, train


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    device.prepare(section())
    yield
    torch.set_deterministic_debug_mode("default")


def test_it_learns_digits() -> None:
    epochs = run(new_classifier(), section(epochs=6, augment=NO_AUGMENT))
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[-1].train_loss < 0.3 < 1.5 < epochs[0].train_loss
    assert (epochs[-1].validation_accuracy or 0) > 0.85


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, again, other = new_classifier(), new_classifier(), new_classifier()
    histories = [run(first, section()), run(again, section()), run(other, section(), seed=1)]
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert record.history(histories[0]).equals(record.history(histories[1]))


def test_randomness_depends_on_nothing_but_seed_and_epoch() -> None:
    """Random numbers that others draw between epochs change nothing: so a resumed training needs no random state."""
    undisturbed, disturbed = new_classifier(), new_classifier()
    run(undisturbed, section())
    training, validation = Batches(digits(0, 600), CPU.device), Batches(digits(1000, 1400), CPU.device)
    for epoch in train(disturbed, training, validation, section(), 0, CPU):
        torch.rand(epoch.number * 7)
    assert torch.equal(weights(undisturbed), weights(disturbed))


def test_every_image_is_seen_once_an_epoch_in_another_order() -> None:
    seen: list[list[int]] = []

    class Spy(Classifier):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen[-1].extend(images[:, 0, 0, 0].tolist())
            return super().forward(images)

    base = new_classifier()
    numbered = LabelledImages(np.zeros((200, 8, 8, 1), np.uint8), np.zeros(200, np.int64))
    numbered.images[:, 0, 0, 0] = np.arange(200)
    empty = LabelledImages(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64))
    seen.append([])
    spy = Spy(base.network, base.normalize)
    still = section(augment=NO_AUGMENT)
    for _ in train(spy, Batches(numbered, CPU.device), Batches(empty, CPU.device), still, 0, CPU):
        seen.append([])
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(200))
    assert seen[0] != seen[1]


def test_the_best_weights_are_kept_as_a_copy() -> None:
    """A learning rate that ruins the network after the first epochs: the kept weights are those of the best epoch."""
    classifier = new_classifier()
    states, accuracies = [], []
    training, validation = Batches(digits(0, 600), CPU.device), Batches(digits(1000, 1400), CPU.device)
    wild = section(
        epochs=5, optimizer={"name": "sgd", "lr": 0.3, "weight_decay": 0.0, "momentum": 0.9, "nesterov": False}
    )
    for epoch in train(classifier, training, validation, wild, 0, CPU):
        states.append(copy.deepcopy(classifier.state_dict()))
        accuracies.append(epoch.validation_accuracy or 0.0)
    best = int(np.argmax(accuracies))
    assert best < 4, "choose a setting whose last epoch is not its best"
    assert all(torch.equal(tensor, states[best][name]) for name, tensor in classifier.state_dict().items())
    assert measure(classifier, validation, CPU)[1] == max(accuracies)


def test_patience_stops_after_epochs_without_improvement() -> None:
    frozen = section(epochs=20, patience=3, optimizer={"name": "adam", "lr": 1e-12, "weight_decay": 0.0})
    epochs = run(new_classifier(), frozen, images=64)
    assert len(epochs) - max(epoch.number for epoch in epochs if epoch.best) == 3
    assert len(epochs) < 20


def test_without_validation_images_the_last_weights_are_kept() -> None:
    empty = LabelledImages(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64))
    classifier = new_classifier()
    epochs = list(train(classifier, Batches(digits(0, 200), CPU.device), Batches(empty, CPU.device), section(), 0, CPU))
    assert all(epoch.best and epoch.validation_loss is None for epoch in epochs)
    summary = record.summary(epochs, classifier.network)
    assert (summary["best_epoch"], summary["validation_accuracy"]) == (2, None)
    assert not {"validation_loss", "validation_accuracy"} & set(epochs[0].metrics())


def test_a_single_image_in_the_last_batch_does_not_break_batch_norm() -> None:
    epochs = run(new_classifier("cifar_vgg"), section(epochs=1, batch_size=16), images=33)
    assert np.isfinite(epochs[0].train_loss)


def test_a_diverging_loss_stops_with_one_line() -> None:
    diverging = {"name": "sgd", "lr": 1e20, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False}
    with pytest.raises(Fault, match=r"the loss became (nan|inf) in epoch 1: reduce train\.optimizer\.lr"):
        run(new_classifier(), section(optimizer=diverging))


def test_training_loss_and_accuracy_are_exact() -> None:
    """With a learning rate of almost 0, in evaluation they are those of the untrained network."""
    still = section(
        epochs=1, batch_size=50, augment=NO_AUGMENT, optimizer={"name": "adam", "lr": 1e-30, "weight_decay": 0.0}
    )
    classifier = new_classifier(dropout=0.0)
    images = Batches(digits(0, 120), CPU.device)
    expected = measure(classifier, images, CPU)
    epochs = run(classifier, still, images=120)
    assert (epochs[0].train_loss, epochs[0].train_accuracy) == pytest.approx(expected, rel=1e-5)


def test_logits_do_not_depend_on_the_batch() -> None:
    classifier = new_classifier().eval()
    data = digits(0, BATCH_SIZE + 3)
    whole = classifier(torch.from_numpy(data.images))
    torch.testing.assert_close(logits(classifier, Batches(data, CPU.device), CPU), whole)


def test_bfloat16_trains() -> None:
    classifier = new_classifier()
    compute = device.prepare(section(precision="bfloat16"))
    assert str(compute) == "cpu, bfloat16"
    training, validation = Batches(digits(0, 600), compute.device), Batches(digits(1000, 1400), compute.device)
    epochs = list(train(classifier, training, validation, section(epochs=6, augment=NO_AUGMENT), 0, compute))
    assert (epochs[-1].validation_accuracy or 0) > 0.85
    assert all(weight.dtype == torch.float32 for weight in classifier.parameters())


def test_an_absent_device_is_told() -> None:
    if not torch.accelerator.is_available():
        with pytest.raises(Fault, match=r"train\.device is cuda:1, but torch finds no such device"):
            device.prepare(section(device="cuda:1"))


def test_the_history_shows_the_schedule() -> None:
    halved = {"name": "step", "every": 1, "factor": 0.5, "warmup_epochs": 0}
    epochs = run(new_classifier(), section(epochs=3, schedule=halved), images=64)
    assert record.history(epochs)["lr"].tolist() == ["0.002", "0.001", "0.0005"]


def draws(count: int = 4, **changes: Any) -> augment.Draws:
    values: dict[str, torch.Tensor] = {
        "flip": torch.zeros(count, dtype=torch.bool),
        "shift": torch.zeros(count, 2, dtype=torch.int64),
        "angle": torch.zeros(count),
        "scale": torch.ones(count),
    }
    return augment.Draws(**(values | changes))


def settings(**changes: Any) -> params.Augment:
    return params.Augment.model_validate(NO_AUGMENT | changes)


def photo(height: int = 6, width: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, height, width, 3), dtype=np.uint8))


def test_flip_and_shift_are_drawn_for_every_image_alone() -> None:
    """Against torchvision's operators, image by image."""
    from torchvision.transforms.v2 import functional as reference

    images = photo()
    chosen = draws(
        flip=torch.tensor([False, True, False, True]), shift=torch.tensor([[0, 0], [0, 0], [1, -2], [-1, 2]])
    )
    ours = augment.apply(settings(flip=True, crop=2), images, chosen)
    assert ours.dtype == torch.uint8
    for number in range(4):
        expected = images[number].permute(2, 0, 1)
        if chosen.flip[number]:
            expected = reference.horizontal_flip(expected)
        down, right = chosen.shift[number].tolist()
        height, width = expected.shape[1:]
        expected = reference.crop(expected, -down, -right, height, width)
        assert torch.equal(ours[number].permute(2, 0, 1), expected)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7)])
def test_rotation_and_scale_equal_torchvisions(height: int, width: int) -> None:
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as reference

    images = photo(height, width)
    angles, scales = [0.0, 30.0, -75.0, 10.0], [1.0, 1.0, 0.8, 1.3]
    chosen = draws(angle=torch.tensor(angles).deg2rad(), scale=torch.tensor(scales))
    ours = augment.apply(settings(rotate=90, scale=0.5), images, chosen)
    for number, (angle, scale) in enumerate(zip(angles, scales, strict=True)):
        expected = reference.affine(
            images[number].permute(2, 0, 1).float(),
            angle=-angle,  # torchvision's affine turns clockwise
            translate=[0, 0],
            scale=scale,
            shear=[0.0],
            interpolation=InterpolationMode.BILINEAR,
        )
        torch.testing.assert_close(ours[number].permute(2, 0, 1), expected, atol=0.05, rtol=0)


def test_draws_stay_within_their_bounds_and_differ_between_images() -> None:
    drawn = augment.draw(settings(flip=True, crop=2, rotate=15, scale=0.2), 5000, torch.Generator().manual_seed(0))
    assert drawn.flip.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert sorted(set(drawn.shift.flatten().tolist())) == [-2, -1, 0, 1, 2]
    assert 0.95 * np.radians(15) < drawn.angle.abs().max().item() <= np.radians(15)
    assert 0.8 <= drawn.scale.min().item() < 0.81
    assert 1.19 < drawn.scale.max().item() <= 1.2


def test_nothing_asked_for_changes_nothing() -> None:
    drawn = augment.draw(settings(), 4, torch.Generator().manual_seed(0))
    images = photo()
    assert augment.apply(settings(), images, drawn) is images
