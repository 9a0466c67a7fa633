"""The training loop: it learns, its randomness is a function of (seed, epoch), and it keeps the best weights."""

import copy
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from augment_samples import NO_AUGMENT
from training_samples import CPU, PLAIN_SGD, digits, new_classifier, run, section, weights

from src.compute import device
from src.compute.batches import Batches
from src.core.errors import UserError
from src.data.prepared import LabelledImages
from src.training import reports
from src.training.augment import Mix
from src.training.loop import measure, train
from src.training.losses import Target, loss_function
from src.training.muon import MuonAnd
from src.training.order import balanced, segment_seeds, shuffled
from src.training.step import TrainStep

STILL = {"name": "adam", "lr": 1e-12, "weight_decay": 0.0}


pytestmark = pytest.mark.usefixtures("deterministic")


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    first, again, other = new_classifier(), new_classifier(), new_classifier()
    histories = [run(first, section()), run(again, section()), run(other, section(), seed=1)]
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert reports.history(histories[0]).equals(reports.history(histories[1]))


@pytest.mark.parametrize("shards", [[1000], [400, 250, 150, 100, 60, 40]], ids=str)
def test_balanced_sampling_shows_every_class_alike_and_others_of_a_frequent_one_each_time(shards: list[int]) -> None:
    labels = torch.arange(1000).ge(900).long() + torch.arange(1000).ge(990) * 2  # no class 2
    epochs = []
    for epoch in (1, 2, 1):
        generator = torch.Generator().manual_seed(segment_seeds(5, epoch, 0)[1])
        times = balanced(labels, generator)
        order = shuffled(shards, generator, times)
        assert torch.equal(order.bincount(minlength=1000), times)
        assert labels[order].bincount().tolist() == [334, 333, 0, 333]
        for label in (0, 1, 3):
            seen = times[labels == label]
            assert seen.max() - seen.min() <= 1
        epochs.append(order)
    assert set(epochs[0].tolist()) != set(epochs[1].tolist())
    assert torch.equal(epochs[0], epochs[2])


def test_every_image_is_seen_once_an_epoch_in_another_order() -> None:
    seen: list[int] = []
    classifier = new_classifier()
    classifier.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[0][:, 0, 0, 0].tolist()))
    numbered = LabelledImages(np.zeros((200, 8, 8, 1), np.uint8), np.zeros(200, np.int64))
    numbered.images[:, 0, 0, 0] = np.arange(200)
    training, none = Batches(numbered, CPU.device), Batches(digits(0, 0), CPU.device)
    assert len(list(train(classifier, training, none, section(augment=NO_AUGMENT), 0, CPU))) == 2
    first, second = seen[:200], seen[200:]
    assert sorted(first) == sorted(second) == list(range(200))
    assert first != second


def test_the_best_weights_are_kept_as_a_copy() -> None:
    """The learning rate ruins the network after the first epochs, so that the best epoch is not the last."""
    classifier = new_classifier()
    states, accuracies = [], []
    training, validation = Batches(digits(0, 600), CPU.device), Batches(digits(1000, 1400), CPU.device)
    wild = section(epochs=5, optimizer=PLAIN_SGD | {"lr": 0.3, "momentum": 0.9})
    for epoch in train(classifier, training, validation, wild, 0, CPU):
        states.append(copy.deepcopy(classifier.state_dict()))
        accuracies.append(epoch.validation_accuracy or 0.0)
    best = int(np.argmax(accuracies))
    assert best < 4, "choose a setting whose last epoch is not its best"
    assert all(torch.equal(tensor, states[best][name]) for name, tensor in classifier.state_dict().items())
    assert measure(classifier, validation)[1] == max(accuracies)


def test_patience_stops_after_epochs_without_improvement() -> None:
    frozen = section(epochs=20, patience=3, optimizer=STILL)
    epochs = run(new_classifier(), frozen, images=64)
    assert len(epochs) - max(epoch.number for epoch in epochs if epoch.best) == 3
    assert len(epochs) < 20


def test_without_validation_images_the_last_weights_are_kept() -> None:
    classifier = new_classifier()
    training, none = Batches(digits(0, 200), CPU.device), Batches(digits(0, 0), CPU.device)
    epochs = list(train(classifier, training, none, section(), 0, CPU))
    assert all(epoch.best and epoch.validation_loss is None for epoch in epochs)
    summary = reports.summary(epochs, classifier.network)
    assert (summary["best_epoch"], summary["validation_accuracy"]) == (2, None)


@pytest.mark.parametrize(
    ("images", "drop_last", "expected"),
    [(34, False, [16, 16, 2]), (33, False, [16, 16]), (34, True, [16, 16]), (32, True, [16, 16]), (10, True, [10])],
)
def test_a_rest_is_not_learned_where_it_is_dropped_or_a_single_image(
    images: int, drop_last: bool, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch norm cannot learn from a single image. A rest that is the only batch is not dropped."""
    sizes: list[int] = []
    step = TrainStep.step

    def counted(train_step: TrainStep, pixels: torch.Tensor, *arguments: Any) -> Any:
        sizes.append(len(pixels))
        return step(train_step, pixels, *arguments)

    monkeypatch.setattr(TrainStep, "step", counted)
    monkeypatch.setattr("src.training.loop.time", SimpleNamespace(perf_counter=itertools.count().__next__))
    (epoch,) = run(new_classifier(), section(epochs=1, batch_size=16, drop_last=drop_last), images=images)
    assert sizes == expected
    assert epoch.images_per_second == sum(expected), "an epoch takes one second of this clock"


def test_single_images_and_batch_norm_do_not_agree() -> None:
    with pytest.raises(UserError, match="batch norm cannot learn from single images"):
        run(new_classifier("cifar_vgg"), section(batch_size=1), images=8)


def test_a_diverging_loss_stops_with_one_line() -> None:
    with pytest.raises(
        UserError, match=r"training loss became (nan|inf) in epoch 1, with a learning rate of 1e\+20 .*: reduce train"
    ):
        run(new_classifier(), section(optimizer=PLAIN_SGD | {"lr": 1e20}))


@pytest.mark.parametrize(("values", "batch_size"), [(STILL, 50), ({"name": "lbfgs", "lr": 1.0, "iterations": 2}, 120)])
def test_training_loss_and_accuracy_are_those_before_each_step(values: dict[str, Any], batch_size: int) -> None:
    """With a learning rate of almost 0, or in a single step, of the untrained network."""
    still = section(epochs=1, batch_size=batch_size, augment=NO_AUGMENT, optimizer=values)
    classifier = new_classifier(dropout=0.0)
    images = Batches(digits(0, 120), CPU.device)
    expected = measure(classifier, images)
    epochs = run(classifier, still, images=120)
    assert (epochs[0].train_loss, epochs[0].train_accuracy) == pytest.approx(expected, rel=1e-5)


def test_float16_trains_although_its_smallest_gradients_vanish() -> None:
    """Gradients are scaled up, and down again before penalties and clipping: a step equals that in float32."""
    single, half = new_classifier("mnist_convnet", 0.0), new_classifier("mnist_convnet", 0.0)
    wanted = section(epochs=1, augment=NO_AUGMENT, clip_gradient=0.1, l1_penalty=1e-6, optimizer=PLAIN_SGD)
    run(single, wanted, images=64)
    compute = device.prepare(section(precision="float16"), "mnist_convnet")
    list(train(half, Batches(digits(0, 64), CPU.device), Batches(digits(0, 0), CPU.device), wanted, 0, compute))
    assert str(compute) == "cpu, float16"
    torch.testing.assert_close(weights(half), weights(single), rtol=0, atol=2e-4)


def test_an_infinite_hidden_gradient_is_no_step_of_muon() -> None:
    muon = {"name": "muon", "lr": 1e-2, "weight_decay": 0.0, "momentum": 0.9}
    data = digits(0, 64)
    labels = torch.from_numpy(data.labels)
    train_step = TrainStep(new_classifier(), section(optimizer=muon), labels, CPU)
    train_step.scaler = torch.GradScaler("cpu")
    assert isinstance(train_step.optimiser, MuonAnd)
    train_step.optimiser.weights[1][0].register_hook(lambda gradient: torch.full_like(gradient, np.inf))  # type: ignore[no-untyped-call]
    before = weights(train_step.classifier)
    train_step.step(torch.from_numpy(data.images), Target(labels), 1e-2, 1)
    assert torch.equal(weights(train_step.classifier), before)
    assert train_step.scaler.get_scale() == 32_768, "smaller for the next"


def test_compiled_it_learns_the_same() -> None:
    eager, compiled = new_classifier("mnist_convnet", 0.0), new_classifier("mnist_convnet", 0.0)
    expected = run(eager, section(epochs=1), images=128)
    epochs = run(compiled, section(epochs=1, compile=True), images=128)
    assert epochs[0].train_loss == pytest.approx(expected[0].train_loss, rel=1e-4)
    assert list(compiled.state_dict()) == list(eager.state_dict())


def test_auto_takes_the_precision_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "capability", lambda _: "cpu amx")
    assert str(device.prepare(section(precision="auto"), "cifar_vgg")) == "cpu, bfloat16"
    monkeypatch.setattr(device, "capability", lambda _: "cpu")
    assert str(device.prepare(section(precision="auto"), "cifar_vgg")) == "cpu, float32"


def test_small_images_are_augmented_several_batches_at_once_to_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    together, alone = new_classifier(), new_classifier()
    run(together, section(epochs=1))
    monkeypatch.setitem(device.AUGMENTED_VALUES, "cpu", 1)
    run(alone, section(epochs=1))
    torch.testing.assert_close(weights(together), weights(alone), rtol=1e-5, atol=1e-6)


def test_the_loss_of_mixed_images_is_that_of_mixed_targets() -> None:
    """Cross entropy is linear in the target: the weighted sum of losses is the loss of the weighted sum."""
    outputs, labels = torch.randn(6, 10), torch.arange(6)
    mix = Mix(torch.arange(6).roll(1), torch.tensor([0.0, 0.2, 0.5, 0.7, 1.0, 0.9]))
    share = mix.weight[:, None]
    target = share * F.one_hot(labels, 10) + (1 - share) * F.one_hot(labels.roll(1), 10)
    for smoothing in (0.0, 0.1):
        smooth = section(loss={"name": "cross_entropy", "label_smoothing": smoothing, "class_weights": None}).loss
        loss = loss_function(smooth, labels, 10, CPU.device)
        expected = F.cross_entropy(outputs, target, label_smoothing=smoothing)
        torch.testing.assert_close(Target.of(labels, mix).loss(loss, outputs), expected)
        halves = zip(Target.of(labels, mix).split(3), torch.split(outputs, 3), strict=True)
        means = torch.stack([part.loss(loss, logits) for part, logits in halves])
        torch.testing.assert_close(means.mean(), expected)


def test_right_is_the_label_with_the_larger_share() -> None:
    mix = Mix(torch.tensor([2, 0, 1]), torch.tensor([0.3, 0.5, 0.9]))
    target = Target.of(torch.tensor([0, 1, 2]), mix)
    assert [int(target.correct(torch.eye(3)[[k] * 3])) for k in range(3)] == [0, 1, 2]


def test_a_colour_operator_on_grey_images_is_told() -> None:
    with pytest.raises(UserError, match=r"train\.augment\.hue needs colour images, and these have one channel"):
        run(new_classifier(), section(augment=NO_AUGMENT | {"hue": 0.1}))
