"""`train.threads`: `auto`, or a number."""

import os

import pytest
import torch
from training_samples import section

from src.compute import device
from src.compute.threads import cpu_threads


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("network", "changes", "expected"),
    [
        ("cifar_vgg", {"threads": "auto"}, 8),
        ("fashion_net", {"threads": "auto"}, 1),
        ("cifar_vgg", {"threads": "auto", "processes": 2}, 4),
        ("cifar_vgg", {"threads": "auto", "processes": 16}, 1),
        ("cifar_vgg", {"threads": "auto", "deterministic": "portable"}, 1),
        ("fashion_net", {"threads": 3}, 3),
        ("cifar_vgg", {"threads": 3, "processes": 2}, 3),
    ],
)
def test_auto_is_a_function_of_network_and_processors(network: str, changes: dict[str, object], expected: int) -> None:
    assert cpu_threads(section(**changes), network) == expected


def test_a_process_is_set_up_with_them() -> None:
    for network, threads in (("cifar_vgg", 8), ("mnist_convnet", 1)):
        device.prepare(section(threads="auto"), network)
        assert torch.get_num_threads() == threads
