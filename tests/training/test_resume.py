"""A killed training goes on to the same bits; its lock; when states are removed."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_samples import CPU, SGD, digits, new_classifier, section, weights

from src.compute.batches import Batches
from src.core.paths import LOCK, states
from src.models.classifier import Classifier
from src.params import Train
from src.training import order, reports
from src.training.epoch import Epoch
from src.training.loop import train
from src.training.resume import Progress, Resumable
from src.training.snapshots import Snapshots
from src.training.states import discard_unneeded_states, finished_session
from src.training.step import TrainStep

pytestmark = pytest.mark.usefixtures("root", "deterministic")


class Killed(Exception):
    pass


def trained(
    chosen: Train, key: str, minutes: float = 10, logged: Callable[[Epoch], None] = lambda epoch: None
) -> tuple[Classifier, Progress, Path]:
    """Train from where an earlier call with this key stopped."""
    classifier = new_classifier()
    training, validation = Batches(digits(0, 320), CPU.device), Batches(digits(1000, 1200), CPU.device)
    progress, snapshots = Progress(), Snapshots(classifier.network)
    state = Resumable(key, progress, snapshots, minutes)
    with state.alone():
        state.follow(train(classifier, training, validation, chosen, 0, CPU, progress), logged)
    snapshots.save(Path(f"{key}.npz"))
    return classifier, progress, Path(f"{key}.npz")


CHOICES: dict[str, dict[str, Any]] = {
    "balanced": {"sampling": "balanced", "augment": section().augment.model_dump() | {"policy": "trivial"}},
    "adam and a plateau": {"schedule": {"name": "plateau", "patience": 1, "factor": 0.5, "warmup_epochs": 0}},
    "average": {"ema": 0.9, "clip_gradient": 1.0, "record_every": 3},
    "sgd": {"optimizer": SGD},
    "rprop": {"optimizer": {"name": "rprop", "lr": 1e-3}},
    "muon": {"optimizer": {"name": "muon", "lr": 2e-3, "weight_decay": 1e-4, "momentum": 0.9}},
    "lbfgs": {"optimizer": {"name": "lbfgs", "lr": 0.5, "iterations": 2}},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_killed_at_any_step_it_goes_on_to_the_same_bits(
    choice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An epoch has 5 segments, each of 2 steps of 32 images."""
    monkeypatch.setattr(order, "_SEGMENT_BYTES", 64 * 64)
    chosen = section(**{"epochs": 3, "batch_size": 32} | CHOICES[choice])
    expected, whole, snapshots = trained(chosen, "undisturbed")
    step, steps = TrainStep.step, iter(np.random.default_rng(0).integers(1, 12, 50).tolist())
    left = 0

    def killing(self: TrainStep, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return step(self, *arguments)

    monkeypatch.setattr(TrainStep, "step", killing)
    kills = 0
    while True:
        left = next(steps)
        try:
            found, progress, again = trained(chosen, "killed", minutes=1e-9)
            break
        except Killed:
            kills += 1
    assert kills >= 3
    assert "going on in epoch 2, after" in capsys.readouterr().out
    assert torch.equal(weights(found), weights(expected))
    assert reports.history(progress.epochs).equals(reports.history(whole.epochs))
    assert reports.steps(progress.epochs).equals(reports.steps(whole.epochs))
    assert reports.summary(progress.epochs, found.network) == reports.summary(whole.epochs, expected.network)
    assert again.read_bytes() == snapshots.read_bytes()


def test_killed_between_epochs_it_goes_on_after_the_last_and_logs_all(capsys: pytest.CaptureFixture[str]) -> None:
    logged: list[int] = []

    def log(epoch: Epoch) -> None:
        logged.append(epoch.number)
        if logged == [1, 2]:
            raise Killed

    with pytest.raises(Killed):
        trained(section(epochs=3), "key", logged=log)
    trained(section(epochs=3), "key", logged=log)
    assert "going on after epoch 2, which" in capsys.readouterr().out
    assert logged == [1, 2, 1, 2, 3]


def test_best_is_the_highest_accuracy_and_then_the_lowest_loss() -> None:
    progress = Progress()
    for number, (accuracy, loss) in enumerate([(0.5, 1.0), (0.5, 0.9), (0.5, 0.9), (0.4, 0.1), (0.6, 2.0)], start=1):
        best = progress.is_best(loss, accuracy)
        progress.add(Epoch(number, 0.1, 0.9, loss, accuracy, 1e-3, best, 1.0, 1.0, None, []))
    assert [epoch.best for epoch in progress.epochs] == [True, True, False, False, True]
    assert progress.best_epoch == 5
    assert progress.is_best(None, None)


def left(key: str) -> Path:
    """Leave the state of a training with this key."""
    (states() / key).mkdir(parents=True)
    state = {"session": key, "progress": Progress().state(), "snapshots": []}
    torch.save(state, states() / key / "state.pt")
    return states() / key


def resumable(key: str) -> Resumable:
    return Resumable(key, Progress(), Snapshots(new_classifier().network), 10)


def test_a_finished_state_goes_once_its_model_is_recorded() -> None:
    for md5, key in (("aaaa", "one"), ("bbbb", "two")):
        left(key)
        state = resumable(key)
        with state.alone():
            state.finish(md5)
    assert finished_session("bbbb") == "two"
    assert finished_session("cccc") is None
    LOCK.write_text("md5: aaaa")
    discard_unneeded_states()
    assert [path.name for path in states().glob("*/")] == ["two"]
    state = resumable("two")
    with state.alone():
        assert state.session == "two", "DVC has not recorded it yet"
    LOCK.write_text("md5: bbbb")
    state = resumable("two")
    with state.alone():
        assert state.session != "two", "training again what DVC has is training from the beginning"


def test_a_state_that_nobody_resumed_is_removed() -> None:
    os.utime(left("old"), (0, 0))
    left("new")
    with resumable("other").alone():
        assert [path.name for path in states().glob("*/")] == ["new"]


def test_a_second_training_of_the_same_waits_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    second = resumable("key")

    def wait() -> None:
        with second.alone():
            pass

    waiting = threading.Thread(target=wait)
    with resumable("key").alone():
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        left("key")
    waiting.join(30)
    assert second.session == "key"
    assert "the same training runs in another process: waiting for its end\n" in capsys.readouterr().err
