"""Training by several processes: the same as by one. Two processes on this machine, by gloo."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from augment_samples import NO_AUGMENT
from clones import call, copy_of_the_repository, substitute
from forked import Forked
from repro import group, runs
from training_samples import CPU, digits, new_classifier, section, weights

from src.compute import device, distributed
from src.compute.batches import Batches
from src.core.errors import UserError
from src.training.loop import train
from src.training.results import Epoch
from src.training.step import TrainStep

SGD = {"name": "sgd", "lr": 0.05, "weight_decay": 1e-4, "momentum": 0.9, "nesterov": True}


pytestmark = pytest.mark.slow


def trained(changes: dict[str, Any], network: str, images: int, dropout: float) -> tuple[torch.Tensor, list[Epoch]]:
    wanted = section(**changes)
    compute = device.prepare(wanted, network)
    classifier = new_classifier(network, dropout)
    # An odd number of validation images: one process has one more than the other.
    training, validation = Batches(digits(0, images), compute.device), Batches(digits(1000, 1399), compute.device)
    epochs = list(train(classifier, training, validation, wanted, 0, compute))
    return weights(classifier), epochs


def work(folder: Path, cases: dict[str, tuple[dict[str, Any], str, int, float]]) -> None:
    """Runs in each of the processes."""
    with distributed.process_group(torch.device("cpu")):
        for name, case in cases.items():
            result, epochs = trained(*case)
            numbers = [[epoch.train_loss, epoch.train_accuracy, epoch.validation_loss or 0.0] for epoch in epochs]
            file = folder / f"{name}.{distributed.rank()}.npz"
            np.savez(file, weights=result.numpy(), numbers=numbers)


# 640 images in batches of 64: 20 steps in two epochs. Its own augmentation, so that slicing it is tested too.
CASES: dict[str, tuple[dict[str, Any], str, int, float]] = {
    "plain": ({"optimizer": SGD, "clip_gradient": 1.0, "l1_penalty": 1e-5}, "cifar_basic", 640, 0.0),
    "accumulated": ({"optimizer": SGD, "accumulate": 2, "ema": 0.9}, "cifar_basic", 640, 0.0),
    "uneven": ({"batch_size": 64, "epochs": 1}, "cifar_basic", 133, 0.0),
    "norm": ({"optimizer": SGD, "augment": NO_AUGMENT}, "cifar_vgg", 256, 0.1),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    distributed.launch(work, 2, folder, CASES)
    return folder


def of(folder: Path, case: str, process: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    with np.load(folder / f"{case}.{process}.npz") as file:
        return file["weights"], file["numbers"]


@pytest.mark.parametrize("case", CASES)
def test_every_process_ends_with_the_same_model_and_numbers(results: Path, case: str) -> None:
    np.testing.assert_array_equal(of(results, case, 0)[0], of(results, case, 1)[0])
    np.testing.assert_array_equal(of(results, case, 0)[1], of(results, case, 1)[1])


@pytest.mark.parametrize("case", ["plain", "accumulated"])
def test_twenty_steps_equal_those_of_one_process(results: Path, case: str) -> None:
    together, numbers = of(results, case, 0)
    alone, epochs = trained(*CASES[case])
    assert np.linalg.norm(together - alone.numpy()) / np.linalg.norm(alone.numpy()) < 1e-4
    expected = [[epoch.train_loss, epoch.train_accuracy, epoch.validation_loss or 0.0] for epoch in epochs]
    np.testing.assert_allclose(numbers, expected, rtol=1e-4)


def test_batch_norm_on_cpus_takes_its_statistics_from_a_part_of_the_batch(results: Path) -> None:
    """So the weights differ from those of one process, and training works all the same."""
    together, numbers = of(results, "norm", 0)
    alone, _ = trained(*CASES["norm"])
    assert np.linalg.norm(together - alone.numpy()) / np.linalg.norm(alone.numpy()) > 1e-4
    assert numbers[-1][0] < numbers[0][0]


def test_a_batch_that_cannot_be_divided_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    monkeypatch.setattr(distributed, "data_parallel", lambda *_: None)
    with pytest.raises(UserError, match=r"train\.batch_size is 64: must be a multiple of 3 processes times"):
        TrainStep(new_classifier(), section(), torch.zeros(10, dtype=torch.int64), CPU)


@pytest.mark.parametrize(
    ("place", "backend", "settings"),
    [("cuda:1", "nccl", {"device_id": torch.device("cuda:1")}), ("cpu", "gloo", {})],
)
def test_every_process_says_which_gpu_is_its_own(
    place: str, backend: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Mock()
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(torch.distributed, "init_process_group", begin)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with distributed.process_group(torch.device(place)):
        begin.assert_called_once_with(backend, **settings)


def fail() -> None:
    raise UserError(f"process {os.environ['RANK']} has no images")


def test_a_fault_is_told_without_a_traceback_and_sets_the_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        distributed.launch(fail, 2)
    assert end.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines
    assert set(lines) <= {f"error: process {number} has no images" for number in range(2)}


@pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them")
def test_a_killed_training_goes_on_to_the_same_bits(forked: Forked, tmp_path: Path) -> None:
    """What started the processes is killed alone, and they end with it."""
    clone = copy_of_the_repository(tmp_path / "clone")
    substitute(clone / "params.yaml", "processes: 1", "processes: 2")
    substitute(clone / "params.yaml", "deterministic: portable", "deterministic: true")
    substitute(clone / "params.yaml", "epochs: 30", "epochs: 3 ")
    python = (sys.executable, "-u", "-m")
    forked.run(clone, "stages.download")
    forked.run(clone, "stages.split")
    call(clone, *python, "stages.train")
    undisturbed = {name: (clone / name).read_bytes() for name in ("models/model.safetensors", "reports/history.csv")}
    shutil.rmtree(clone / ".cache/state")
    (measured,) = (clone / ".cache/costs").iterdir()
    measured.unlink()

    environment = os.environ | {"DVC_STAGE": "train", "MLFLOW_TRACKING_URI": ""}
    first = subprocess.Popen(
        [*python, "stages.train"], cwd=clone, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert first.stdout is not None
    assert any(line.startswith("epoch   1") for line in first.stdout), "it told of the first epoch"
    first.kill()
    first.wait()
    first.stdout.close()
    deadline = time.monotonic() + 20
    while group(first.pid):
        assert time.monotonic() < deadline, "an orphan goes on"
        time.sleep(0.05)
    told = call(clone, *python, "stages.train")
    assert "going on after epoch" in told
    assert not measured.exists(), "what a part of a training cost is not kept"
    assert {name: (clone / name).read_bytes() for name in undisturbed} == undisturbed
    assert [steps for _, _, steps in runs(clone)] == [[1, 2, 3], [1, 2, 3]], "the second run is the killed one"
