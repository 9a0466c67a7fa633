"""Two processes, connected by gloo, train the same model as one."""

import os
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clones import set_params
from repro import group
from training_samples import SGD, digits, new_classifier, section, weights

from src.compute import device, distributed
from src.compute.batches import Batches
from src.core.errors import UserError
from src.training.epoch import Epoch
from src.training.loop import train
from src.training.resume import Progress, Resumable
from src.training.snapshots import Snapshots

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
    """Train each case in each of the processes."""
    with distributed.process_group(torch.device("cpu")):
        for name, case in cases.items():
            result, epochs = trained(*case)
            numbers = [[epoch.train_loss, epoch.train_accuracy, epoch.validation_loss or 0.0] for epoch in epochs]
            np.savez(folder / f"{name}.{distributed.rank()}.npz", weights=result.numpy(), numbers=numbers)
        os.chdir(folder)
        for key, until in (("undisturbed", None), ("stopped", 1), ("stopped", None)):
            result, count = resumed(key, until)
            np.savez(folder / f"{key}.{distributed.rank()}.npz", weights=result.numpy(), numbers=count)


def resumed(key: str, until: int | None) -> tuple[torch.Tensor, int]:
    """Go on with the training of this key for `until` epochs; return the weights and the number of epochs trained."""
    wanted = section(optimizer=SGD, epochs=3)
    compute = device.prepare(wanted, "cifar_basic")
    classifier, progress = new_classifier(), Progress()
    state = Resumable(key, progress, Snapshots(classifier.network), 10)
    training, validation = Batches(digits(0, 320), compute.device), Batches(digits(1000, 1399), compute.device)
    epochs = islice(train(classifier, training, validation, wanted, 0, compute, progress), until)
    if distributed.rank() > 0:
        state.restore()
        return weights(classifier), len(list(epochs))
    with state.alone():
        before = len(progress.epochs)
        state.follow(epochs, lambda _: None)
    return weights(classifier), len(progress.epochs) - before


# 640 images in batches of 64: 20 steps in two epochs. Its own augmentation, so that slicing it is tested too.
CASES: dict[str, tuple[dict[str, Any], str, int, float]] = {
    "plain": ({"optimizer": SGD, "clip_gradient": 1.0, "l1_penalty": 1e-5}, "cifar_basic", 640, 0.0),
    "accumulated": ({"optimizer": SGD, "accumulate": 2, "ema": 0.9}, "cifar_basic", 640, 0.0),
    "uneven": ({"batch_size": 64, "epochs": 1}, "cifar_basic", 133, 0.0),
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


def test_stopped_after_an_epoch_they_go_on_to_the_same_bits(results: Path) -> None:
    for process in range(2):
        found, epochs = of(results, "stopped", process)
        np.testing.assert_array_equal(found, of(results, "undisturbed", process)[0])
        assert epochs == 2


def test_torchrun_starts_as_many_as_the_parameters_were_checked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"^train\.processes is 1, but torchrun started 3: set it to 3$"):
        distributed.launch(fail, 1)
    with pytest.raises(MemoryError):
        distributed.launch(fail, 3)


def fail() -> None:
    raise MemoryError


def test_a_fault_is_told_without_a_traceback_and_sets_the_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        distributed.launch(fail, 2, less_memory="read less")
    assert end.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines
    assert set(lines) == {"error: out of memory: read less"}


@pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them")
def test_the_processes_end_with_what_started_them(finished: Path, tmp_path: Path) -> None:
    """The process that started them is killed, and nothing else."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, symlinks=True)
    set_params(folder, {"train.processes": 2, "train.deterministic": True, "train.epochs": 1000})
    started = subprocess.Popen(
        [sys.executable, "-u", "-m", "stages.train"], cwd=folder, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"DVC_STAGE": "train", "MLFLOW_TRACKING_URI": ""}, start_new_session=True,
    )  # fmt: skip
    assert started.stdout is not None
    assert any(line.startswith("epoch   1") for line in started.stdout), "it told of the first epoch"
    started.kill()
    started.wait()
    started.stdout.close()
    deadline = time.monotonic() + 20
    while group(started.pid):
        assert time.monotonic() < deadline, "an orphan goes on"
        time.sleep(0.05)
