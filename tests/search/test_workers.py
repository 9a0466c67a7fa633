"""A pool of workers whose process dies, fails or runs out of memory. The trainings are made up."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tune_samples import DIGITS
from tune_workers import BUG, KILLED, KILLED_ONCE, OUT_OF_MEMORY, dies_at_once, has_no_data, scripted

from src.core.errors import UserError
from src.search import workers
from src.search.messages import Outcome, Task
from src.search.workers import Worker, WorkerPool
from src.training.epoch import Epoch


def trained(
    dropouts: Sequence[float], count: int = 1, stops: Callable[[Epoch], bool] = lambda _: False
) -> list[tuple[float, Outcome]]:
    left = iter(dropouts)

    def work(worker: Worker) -> tuple[float, Outcome] | None:
        dropout = next(left, None)
        return None if dropout is None else (dropout, worker.train(task(dropout), stops))

    with WorkerPool(DIGITS, ("train", "validation"), dict, count) as pool:
        return list(pool.each(work))


def task(dropout: float) -> Task:
    return Task(DIGITS.model.model_copy(update={"dropout": dropout}), DIGITS.train, 0)


@pytest.fixture(autouse=True)
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}{os.pathsep}{Path.cwd() / 'tests/helpers'}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "_work", scripted)


def test_a_training_whose_worker_is_killed_begins_again_and_its_epochs_are_seen_once() -> None:
    """So none of them is recorded twice, and none is stopped that was not stopped before."""
    seen: list[int] = []

    def stops(epoch: Epoch) -> bool:
        seen.append(epoch.number)
        return True

    ((_, outcome),) = trained([KILLED_ONCE], stops=stops)
    assert outcome.measured["told"] == [False, True]
    assert seen == [1, 2]


def test_a_training_that_kills_its_workers_or_fills_the_memory_leaves_the_next_one_a_new_process() -> None:
    found = [outcome for _, outcome in trained([0.0, OUT_OF_MEMORY, 0.0, KILLED, 0.0])]
    killed = found.pop(3)
    assert (killed.state, killed.reason) == ("failed", "its worker was killed twice, perhaps for memory")
    pids = [outcome.measured["pid"] for outcome in found]
    assert pids[0] == pids[1]
    assert len(set(pids)) == 3


def test_a_bug_and_what_lets_no_worker_train_end_the_search(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="a worker failed, as said above"):
        trained([BUG])
    assert "RuntimeError: a bug" in capfd.readouterr().err
    monkeypatch.setattr(workers, "_work", has_no_data)
    with pytest.raises(UserError, match="the data are gone"):
        trained([0.0])
    monkeypatch.setattr(workers, "_work", dies_at_once)
    with pytest.raises(UserError, match=r"workers are killed before they can train, .*: use fewer --workers"):
        trained([0.0])


@pytest.mark.parametrize("count", [None, 4])
def test_there_is_a_worker_for_each_gpu(count: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    params = DIGITS.model_copy(update={"train": DIGITS.train.model_copy(update={"deterministic": True})})
    with WorkerPool(params, ("train",), dict, count) as some:
        assert (some.gpus, some.count) == (["GPU-a", "GPU-b"], count or 2)
        some.widen(50)
        assert some.count == (count or 2)


@pytest.mark.parametrize(
    ("device", "threads", "count", "each", "most"),
    [("auto", "auto", None, 8, 1), ("cpu", "auto", 3, 2, 3), ("cpu", 1, None, 1, 8), ("cuda:1", 1, None, 1, 1)],
)
def test_workers_share_the_processors(
    device: str, threads: str | int, count: int | None, each: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    train = DIGITS.train.model_copy(update={"device": device, "threads": threads, "deterministic": True})
    with WorkerPool(DIGITS.model_copy(update={"train": train}), ("train",), dict, count) as some:
        assert some.params.train.threads == each
        some.widen(50)
        assert some.count == most
