"""What comes of one trial: its objective, and what it leaves behind where it fails. Trainings are small or made up."""

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from training_samples import CPU, digits, new_classifier
from tune_samples import opened, plan
from tune_samples import train as sample_training

from src.compute.batches import Batches
from src.core.errors import UserError
from src.params import Model, Train
from src.search import trial, workers
from src.search.plan import Plan
from src.search.points import Point
from src.search.stop import Stop
from src.search.trial import run
from src.training.loop import train
from src.training.results import Epoch
from src.training.resume import Progress
from src.training.step import TrainStep
from src.training.trainer import Trainer, Training

WORKER = workers._worker


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(trial, "_digest", lambda *_: "md5 of the kept weights")
    yield
    torch.set_deterministic_debug_mode("default")


class Digits(Trainer):
    """Trains on a few digits, or gives what `epochs` is set to."""

    def __init__(self, epochs: Callable[[], Iterator[Epoch]] | None = None) -> None:
        self.images = {
            "train": Batches(digits(0, 96), CPU.device), "validation": Batches(digits(1000, 1100), CPU.device)
        }  # fmt: skip
        self._made_up = epochs

    def start(self, model: Model, settings: Train, seed: int, progress: Progress | None = None) -> Training:
        classifier = new_classifier()
        images = self.images["train"], self.images["validation"]
        epochs = self._made_up or (lambda: train(classifier, *images, settings, seed, CPU))
        return Training(None, classifier, epochs())  # type: ignore[arg-type]


def outcome(trainer: Trainer, **tune: Any) -> FrozenTrial:
    """The only trial of a search, after it was run."""
    search = plan(1, **{"pruner": "none", "sampler": "random"} | tune)
    points = opened(None, search)[1]
    point = points.claim()
    assert point is not None
    run(point, search, trainer)
    return points.all()[0]


def history() -> Iterator[Epoch]:
    """The best accuracy comes before the best loss, as where a network grows too sure of itself."""
    for number, (accuracy, loss) in enumerate([(0.5, 1.0), (0.9, 0.7), (0.8, 0.3), (0.7, 0.6)], start=1):
        yield Epoch(number, 0.1, 0.9, loss, accuracy, 1e-3, number < 3, 1.0, 1.0, None, [])


@pytest.mark.parametrize(("objective", "value"), [("accuracy", 0.9), ("loss", 0.3)])
def test_the_objective_is_the_best_of_all_epochs(objective: str, value: float) -> None:
    found = outcome(Digits(history), objective=objective)
    assert (found.state, found.value) == (TrialState.COMPLETE, value)
    assert found.user_attrs["result"]["best_epoch"] == 2, "the one whose weights training keeps"


def test_what_ran_out_of_memory_is_gone_when_its_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    learners, left = [], []

    def full(train_step: TrainStep, *_: object) -> None:
        learners.append(weakref.ref(train_step))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(TrainStep, "step", full)
    monkeypatch.setattr(gc, "collect", lambda: left.append(learners[0]() is not None))
    found = outcome(Digits())
    assert found.state == TrialState.FAIL
    assert found.user_attrs["result"]["reason"].startswith("cpu is out of memory: reduce")
    assert left == [False]


def raising(error: Exception) -> Callable[[], Iterator[Epoch]]:
    def epochs() -> Iterator[Epoch]:
        yield next(history())
        raise error

    return epochs


def test_an_error_after_which_the_device_computes_nothing_more_is_not_the_points() -> None:
    search = plan(1)
    points = opened(None, search)[1]
    point = points.claim()
    assert point is not None
    lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        run(point, search, Digits(raising(lost)))
    assert points.all()[0].state == TrialState.RUNNING, "left for another process"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.AcceleratorError("CUDA error: out of memory"), "CUDA error: out of memory"),
        (RuntimeError("Output size\nis too small"), "Output size is too small"),
    ],
)
def test_any_other_error_of_torch_is_the_points(error: Exception, reason: str) -> None:
    found = outcome(Digits(raising(error)))
    assert (found.state, found.user_attrs["result"]["reason"]) == (TrialState.FAIL, reason)


def losing_its_device_once(search: Plan, url: str | None, session: str, parent: int) -> None:
    """A worker, in a process of its own."""

    def attempt(point: Point, *_: object) -> None:
        if not point._points._storage.get_trial(point._id).user_attrs["attempts"]:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might …")
        sample_training(point)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "Trainer", lambda *_: None)
        patch.setattr(workers, "run", attempt)
        WORKER(search, url, session, parent)


def finding_no_device(search: Plan, url: str | None, session: str, parent: int) -> None:
    def trainer(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "Trainer", trainer)
        WORKER(search, url, session, parent)


def test_a_worker_that_loses_its_device_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    search = plan(1)
    storage, points = opened(None, search)
    monkeypatch.setattr(workers, "_worker", losing_its_device_once)
    workers.work_apart(search, storage, None, "session", 1, Stop(None), lambda: None)
    (found,) = points.all()
    assert (found.state, found.user_attrs["attempts"]) == (TrialState.COMPLETE, ["worker died"])
    told = "warning: a worker lost its device, its point is tried again: CUDA error: unspecified launch failure\n"
    assert capfd.readouterr().err == told


def test_workers_that_find_no_device_are_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    search = plan(1)
    storage, _ = opened(None, search)
    monkeypatch.setattr(workers, "_worker", finding_no_device)
    with pytest.raises(UserError, match="a worker failed, as said above"):
        workers.work_apart(search, storage, None, "session", 1, Stop(None), lambda: None)
