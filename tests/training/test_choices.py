"""Every optimiser, loss and schedule really trains, and does what its name says."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from augment_samples import NO_AUGMENT
from device_samples import OPTIMIZERS
from torch import Tensor, nn
from training_samples import CPU, PLAIN_SGD, digits, new_classifier, run, section, weights

from src.compute.batches import Batches
from src.core.errors import UserError
from src.params import Optimizer
from src.training import reports
from src.training.loop import measure
from src.training.losses import Loss, loss_function
from src.training.optimizers import optimizer
from src.training.schedules import lr_factor, plateaus
from src.training.snapshots import Snapshots
from src.training.step import Average

pytestmark = pytest.mark.usefixtures("deterministic")


RATES = {
    "sgd": 0.05, "adam": 2e-3, "adamw": 2e-3, "nadam": 2e-3, "radam": 2e-2, "adamax": 5e-3, "adagrad": 2e-2,
    "adadelta": 1.0, "asgd": 0.2, "rmsprop": 5e-4, "muon": 5e-3, "muon_sgd": 5e-2, "rprop": 1e-3, "lbfgs": 1.0,
}  # fmt: skip


def plain(**changes: Any) -> Any:
    """Return settings without augmentation."""
    return section(**({"augment": NO_AUGMENT} | changes))


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda section: section.name)
def test_every_optimiser_trains(optimizer: Optimizer) -> None:
    name = optimizer.name
    # Rprop compares the signs of successive gradients, which only mean something for the same batch.
    batch_size = {"rprop": 300, "lbfgs": 150}.get(name, 15)
    rated = optimizer.model_copy(update={"lr": RATES[name]})
    chosen = plain(epochs=25 if name == "rprop" else 4, batch_size=batch_size, optimizer=rated)
    epochs = run(new_classifier("mnist_convnet", 0.0), chosen, images=300)
    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss


_STEPS = """
import sys, torch
from src.training.optimizers import _CLASSES, _eager
for kind in _CLASSES.values():
    weight = torch.nn.Parameter(torch.ones(6))
    weight.grad = torch.ones(6)
    optimiser = _eager(kind)([weight], lr=0.01)
    optimiser.step()
    optimiser.load_state_dict(optimiser.state_dict())
assert "torch._dynamo" not in sys.modules
"""


def test_optimisers_do_not_import_torchs_compiler() -> None:
    """It takes seconds, which a short training has no use for."""
    subprocess.run([sys.executable, "-c", _STEPS], check=True)


def test_biases_and_norms_can_be_left_out_of_weight_decay() -> None:
    """With a gradient of 0 only decay acts."""
    decay = PLAIN_SGD | {"weight_decay": 0.5}
    for every, chosen in ((True, plain(optimizer=decay)), (False, plain(optimizer=decay, decay_biases=False))):
        network = new_classifier("cifar_vgg")
        optimiser = optimizer(chosen.optimizer, network, chosen.decay_biases)
        before = {name: weight.clone() for name, weight in network.named_parameters()}
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        optimiser.step()
        for name, weight in network.named_parameters():
            expected = before[name] * (0.95 if every or weight.ndim > 1 else 1.0)
            torch.testing.assert_close(weight.detach(), expected)


def one_batch(**changes: Any) -> Tensor:
    """Return the weights after a single step of plain SGD on 64 images."""
    classifier = new_classifier(dropout=0.0)
    run(classifier, plain(**({"epochs": 1, "optimizer": PLAIN_SGD} | changes)), images=64)
    return weights(classifier)


def test_the_l1_penalty_pulls_every_weight_towards_zero_by_the_same_amount() -> None:
    start = weights(new_classifier(dropout=0.0))
    change = one_batch(l1_penalty=0.01) - one_batch()
    torch.testing.assert_close(change, -0.1 * 0.01 * start.sign(), atol=1e-7, rtol=0)
    biases = torch.cat(
        [torch.full_like(weight, weight.ndim == 1).flatten() for weight in new_classifier().state_dict().values()]
    ).bool()
    assert (one_batch(l1_penalty=0.01, decay_biases=False) - one_batch())[biases].abs().max() < 1e-12


def layer_rates(network: nn.Module, first_layer_lr: float, decay_biases: bool = True) -> list[Tensor]:
    """Return what the learning rate of each weight is multiplied by, in the order of the network."""
    groups = optimizer(section(optimizer=PLAIN_SGD).optimizer, network, decay_biases, first_layer_lr).param_groups
    found = {weight: group.get("lr_scale", 1.0) for group in groups for weight in group["params"]}
    return [torch.full_like(weight, found[weight], requires_grad=False).flatten() for weight in network.parameters()]


@pytest.mark.parametrize("decay_biases", [True, False])
def test_rates_rise_by_equal_ratios_from_the_first_layer_to_the_last(decay_biases: bool) -> None:
    found = [rates[0].item() for rates in layer_rates(new_classifier("cifar_vgg"), 0.01, decay_biases)]
    assert found == sorted(found)
    assert (found[0], found[-1]) == pytest.approx((0.01, 1.0))
    assert [after / before for before, after in pairwise(sorted(set(found)))] == pytest.approx([100 ** (1 / 8)] * 8)
    assert torch.cat(layer_rates(nn.Linear(8, 2), 0.1)).eq(1).all(), "a layer that is alone is the last"


def test_a_step_changes_each_layer_by_its_rate() -> None:
    """In plain SGD the change is the rate times the gradient, which is the same for both settings."""
    start, rates = weights(new_classifier()), torch.cat(layer_rates(new_classifier(), 0.1))
    expected = (one_batch() - start) * rates
    torch.testing.assert_close(one_batch(first_layer_lr=0.1) - start, expected, atol=1e-6, rtol=1e-3)


def test_a_gradient_is_clipped_to_its_norm() -> None:
    start = weights(new_classifier(dropout=0.0))
    unclipped = one_batch() - start
    assert unclipped.norm() > 0.011
    clipped = one_batch(clip_gradient=0.1) - start
    assert clipped.norm().item() == pytest.approx(0.1 * 0.1, rel=1e-3)
    torch.testing.assert_close(clipped / clipped.norm(), unclipped / unclipped.norm(), atol=1e-4, rtol=0)
    assert torch.equal(one_batch(clip_gradient=1e6), one_batch())


def test_accumulated_parts_equal_the_whole_batch() -> None:
    """With class weights, the penalty, and a last batch that is not full; the network has no batch norm."""
    changes: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 48,
        "loss": {"name": "cross_entropy", "label_smoothing": 0.1, "class_weights": "balanced"},
        "l1_penalty": 1e-4,
        "clip_gradient": 1.0,
    }
    whole = one_batch(**changes)
    torch.testing.assert_close(one_batch(**changes, accumulate=4), whole, atol=1e-6, rtol=1e-4)


def loss_of(values: dict[str, Any], labels: Tensor) -> Loss:
    return loss_function(section(loss=values).loss, labels, 3, CPU.device)


def test_losses_are_torchs() -> None:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    one_hot = F.one_hot(labels, 3).float()
    given = torch.tensor([1.0, 2.0, 4.0])
    balanced = torch.tensor([8 / 15, 8 / 6, 8 / 3])
    probabilities = logits.softmax(dim=1)
    smooth = {"name": "cross_entropy", "label_smoothing": 0.3, "class_weights": None}
    cases: list[tuple[dict[str, Any], Tensor]] = [
        ({"name": "nll", "class_weights": None}, F.nll_loss(logits.log_softmax(dim=1), labels)),
        # 8 images whose balanced weights add up to 8: torch's own division by the sum of weights is ours.
        ({"name": "nll", "class_weights": "balanced"}, F.nll_loss(logits.log_softmax(dim=1), labels, weight=balanced)),
        ({"name": "multi_margin", "class_weights": [1, 2, 4]}, F.multi_margin_loss(logits, labels, weight=given)),
        (smooth, F.cross_entropy(logits, 0.7 * one_hot + 0.1)),
        ({"name": "bce"}, nn.BCEWithLogitsLoss()(logits, one_hot)),
        ({"name": "mse"}, ((probabilities - one_hot) ** 2).mean()),
        ({"name": "l1"}, 2 / 3 * (1 - probabilities.gather(1, labels[:, None])).mean()),
    ]
    for values, expected in cases:
        torch.testing.assert_close(loss_of(values, labels)(logits, labels).mean(), expected)


def test_class_weights_of_another_number_are_one_line() -> None:
    with pytest.raises(UserError, match=r"class_weights has 2 numbers for 3 classes"):
        loss_of({"name": "nll", "class_weights": [1.0, 2.0]}, torch.tensor([0, 1, 2]))


def test_balanced_weights_bear_a_class_without_images() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    balanced, plain = (loss_of({"name": "nll", "class_weights": each}, labels) for each in ("balanced", None))
    logits = torch.zeros(4, 3)
    torch.testing.assert_close(balanced(logits, labels) / plain(logits, labels), torch.tensor([2, 2, 2, 6]) / 3)
    assert balanced(logits[:1], torch.tensor([2])).isfinite().all()


SCHEDULES: list[tuple[dict[str, Any], list[float]]] = [
    ({"name": "constant"}, [1, 1, 1, 1, 1]),
    ({"name": "step", "every": 2, "factor": 0.1}, [1, 1, 0.1, 0.1, 0.01]),
    ({"name": "multi_step", "at": [1, 3], "factor": 0.5}, [1, 0.5, 0.5, 0.25, 0.25]),
    ({"name": "exponential", "factor": 0.5}, [1, 0.5, 0.25, 0.125, 0.0625]),
    ({"name": "cosine"}, [1, 0.8536, 0.5, 0.1464, 0]),
    ({"name": "linear"}, [1, 0.75, 0.5, 0.25, 0]),
    ({"name": "plateau", "patience": 0, "factor": 0.5}, [1, 1, 1, 0.5, 0.5]),
]


@pytest.mark.parametrize(("values", "expected"), SCHEDULES, ids=[values["name"] for values, _ in SCHEDULES])
def test_schedules_and_their_warm_up(values: dict[str, Any], expected: list[float]) -> None:
    chosen = section(schedule=values | {"warmup_epochs": 0}).schedule
    losses = [3.0, 2.0, 2.0, 1.0]  # only the third epoch brings no lower loss
    factors = [lr_factor(chosen, epoch, 4, losses[:epoch]) for epoch in range(5)]
    assert factors == pytest.approx(expected, abs=1e-4)
    chosen = section(schedule=values | {"warmup_epochs": 1.5}).schedule
    assert [lr_factor(chosen, moment, 4) for moment in (0.0, 0.3, 0.75, 1.2)] == pytest.approx([0, 0.2, 0.5, 0.8])


def test_one_cycle_is_torchs() -> None:
    chosen = section(schedule={"name": "one_cycle", "warmup_epochs": 3}).schedule
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    # Its phases end a step before those of the numbers given to it.
    reference = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.0, total_steps=101, pct_start=31 / 101)
    for step in range(101):
        assert lr_factor(chosen, step / 10, 10) == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        optimiser.step()
        if step < 100:
            reference.step()


@pytest.mark.parametrize("patience", [0, 1, 2, 5])
def test_plateaus_are_torchs(patience: int) -> None:
    generator = np.random.default_rng(patience)
    for decimals in (1, 8):  # with equal losses, and without
        losses = generator.uniform(0, 1, 60).round(decimals).tolist()
        optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimiser, factor=0.5, patience=patience, threshold=0, eps=0
        )
        for count, loss in enumerate(losses, start=1):
            reference.step(loss)
            assert 0.5 ** plateaus(losses[:count], patience) == optimiser.param_groups[0]["lr"]
        assert plateaus(losses, patience) > 2


def test_the_rate_of_a_step_is_that_of_its_middle() -> None:
    schedule = {"name": "linear", "warmup_epochs": 0}
    epochs = run(new_classifier(), plain(epochs=2, batch_size=32, optimizer=PLAIN_SGD, schedule=schedule), images=64)
    assert [epoch.lr for epoch in epochs] == pytest.approx([0.1 * (1 - 0.75 / 2), 0.1 * (1 - 1.75 / 2)])
    assert all(epoch.images_per_second > 64 / epoch.seconds for epoch in epochs), "of the training part"


def test_a_plateau_lowers_the_rate_of_a_real_training() -> None:
    schedule = {"name": "plateau", "patience": 1, "factor": 0.1, "warmup_epochs": 0}
    still = PLAIN_SGD | {"lr": 1e-12}
    epochs = run(new_classifier(), plain(epochs=4, optimizer=still, schedule=schedule), images=64)
    losses = [epoch.validation_loss or 0.0 for epoch in epochs]
    expected = [1e-12 * 0.1 ** plateaus(losses[:number], 1) for number in range(4)]
    assert [epoch.lr for epoch in epochs] == pytest.approx(expected)
    assert epochs[-1].lr < epochs[0].lr


def test_the_average_of_the_weights_is_the_formulas() -> None:
    classifier = new_classifier("cifar_vgg")
    average = Average(classifier, 0.3)
    expected = weights(classifier)
    for step in range(1, 5):
        with torch.no_grad():
            for weight in classifier.parameters():
                weight.add_(step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights(classifier)
        average.update(step)
    torch.testing.assert_close(weights(average.classifier), expected)


def test_the_average_is_what_is_validated_and_kept() -> None:
    raw, averaged = new_classifier(), new_classifier()
    plain_epochs = run(raw, section(epochs=3))
    epochs = run(averaged, section(epochs=3, ema=0.9))
    assert [epoch.train_loss for epoch in epochs] == [epoch.train_loss for epoch in plain_epochs]
    assert not torch.equal(weights(raw), weights(averaged))
    accuracy = measure(averaged, Batches(digits(1000, 1400), CPU.device))[1]
    assert accuracy == max(epoch.validation_accuracy or 0 for epoch in epochs)


def test_records_of_error_rates_change_nothing_but_are_true() -> None:
    recorded, unrecorded = new_classifier("cifar_vgg"), new_classifier("cifar_vgg")
    epochs = run(recorded, section(batch_size=32, record_every=2), images=160)
    run(unrecorded, section(batch_size=32), images=160)
    assert torch.equal(weights(recorded), weights(unrecorded))
    table = reports.steps(epochs)
    assert table.columns.tolist() == ["step", "epoch", "train_error", "validation_error"]
    assert table["step"].tolist() == [2, 4, 6, 8, 10]
    assert table["epoch"].tolist() == [1, 1, 2, 2, 2]
    assert table["validation_error"].iloc[-1] == pytest.approx(1 - (epochs[-1].validation_accuracy or 0))
    # Two batches, two, and the last step of the first epoch is in no record; then one, two and two.
    second = table["train_error"].iloc[2:].to_numpy()
    assert np.average(second, weights=[1, 2, 2]) == pytest.approx(1 - epochs[1].train_accuracy)
    assert reports.steps(run(new_classifier(), section(epochs=1), images=64)).empty


def test_snapshots_hold_the_first_two_convolutions_by_epoch(tmp_path: Path) -> None:
    network = new_classifier("cifar_vgg").network
    snapshots = Snapshots(network)
    convolution = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    before = convolution.weight.detach().clone()
    for epoch in range(1, 31):
        convolution.weight.data += 1
        snapshots.take(epoch)
    snapshots.save(tmp_path / "snapshots.npz")
    arrays = np.load(tmp_path / "snapshots.npz", allow_pickle=False)
    assert (len(arrays["epochs"]), arrays["epochs"][0], arrays["epochs"][-1]) == (12, 0, 30)
    assert arrays["first"].shape == (12, 32, 1, 3, 3)
    assert arrays["second"].shape == (12, 64, 32, 3, 3)
    np.testing.assert_allclose(arrays["first"][-1], before + 30, rtol=1e-6)
    np.testing.assert_array_equal(arrays["first"][0], before)
