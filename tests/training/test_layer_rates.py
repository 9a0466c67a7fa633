"""`train.first_layer_lr`: the nearer a layer is to the image, the more slowly it learns."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from training_samples import CPU, PLAIN_SGD, digits, new_classifier, section

from src.training.losses import Target
from src.training.optimizers import optimizer
from src.training.step import TrainStep


def rates(network: nn.Module, first_layer_lr: float, decay_biases: bool = True) -> dict[str, float]:
    """Return what the learning rate of each weight is multiplied by, in the order of the network."""
    groups = optimizer(section(optimizer=PLAIN_SGD).optimizer, network, decay_biases, first_layer_lr).param_groups
    found = {id(weight): group.get("lr_scale", 1.0) for group in groups for weight in group["params"]}
    return {name: found[id(weight)] for name, weight in network.named_parameters()}


@pytest.mark.parametrize("decay_biases", [True, False])
def test_rates_rise_by_equal_ratios_from_the_first_layer_to_the_last(decay_biases: bool) -> None:
    network = new_classifier("cifar_vgg").network
    found = list(rates(network, 0.01, decay_biases).values())
    assert found == sorted(found)
    assert (found[0], found[-1]) == pytest.approx((0.01, 1.0))
    steps = sorted(set(found))
    ratios = [after / before for before, after in pairwise(steps)]
    assert ratios == pytest.approx([100 ** (1 / 8)] * 8)
    assert set(rates(network, 1.0).values()) == {1.0}


def test_a_layer_that_is_alone_is_the_last() -> None:
    assert set(rates(nn.Linear(8, 2), 0.1).values()) == {1.0}


def test_a_step_changes_each_layer_by_its_rate() -> None:
    """In plain SGD the change is the rate times the gradient, which is the same for both settings."""
    changes = {}
    for share in (1.0, 0.1):
        classifier = new_classifier(dropout=0.0)
        before = {name: weight.detach().clone() for name, weight in classifier.named_parameters()}
        data = digits(0, 64)
        labels = torch.from_numpy(data.labels)
        train_step = TrainStep(classifier, section(optimizer=PLAIN_SGD, first_layer_lr=share), labels, CPU)
        train_step.step(torch.from_numpy(data.images), Target(labels), 0.1, 1)
        changes[share] = {name: weight.detach() - before[name] for name, weight in classifier.named_parameters()}
    expected = rates(new_classifier(), 0.1)
    for name, change in changes[1.0].items():
        torch.testing.assert_close(changes[0.1][name], change * expected[name], atol=1e-6, rtol=1e-3)
