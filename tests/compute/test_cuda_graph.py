"""Recording a step, with what needs a GPU replaced: what a recording must not meet, and what is said where it fails."""

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor

from src.compute import cuda_graph
from src.compute.cuda_graph import WARM, RecordedStep
from src.core.errors import UserError


class Recording(AbstractContextManager[None]):
    """Stand for `torch.cuda.graph`, whose end raises where the recording has failed."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedStep]:
    cuda_graph._stream.cache_clear()
    for name in ("Stream", "CUDAGraph", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: Recording())
    yield RecordedStep(torch.device("cuda"))
    cuda_graph._stream.cache_clear()


def test_python_collects_no_garbage_meanwhile(recorded: RecordedStep) -> None:
    """CUDA would end the recording if another training's graph were among it."""
    collecting: list[bool] = []

    def work(numbers: Tensor) -> tuple[Tensor, ...]:
        collecting.append(gc.isenabled())
        return (numbers + 1,)

    for _ in range(WARM + 2):
        (last,) = recorded(work, torch.zeros(1))
    assert collecting == [*[True] * WARM, False]
    assert gc.isenabled()
    assert last.item() == 1


def test_all_trainings_of_a_process_record_on_one_stream(recorded: RecordedStep) -> None:
    """A process of a search would otherwise lose memory with each trial."""
    for step in (recorded, RecordedStep(torch.device("cuda"))):
        step(lambda numbers: (numbers,), torch.zeros(1))
    assert torch.cuda.Stream.call_count == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reason", "kind", "message"),
    [
        ("operation not permitted", UserError, "recorded: operation not permitted: set train.cuda_graph to false"),
        ("CUDA out of memory", RuntimeError, "^CUDA out of memory$"),
    ],
)
def test_the_first_cause_is_named(recorded: RecordedStep, reason: str, kind: type[Exception], message: str) -> None:
    calls: list[Any] = []

    def work(numbers: Tensor) -> tuple[Tensor, ...]:
        calls.append(numbers)
        if len(calls) > WARM:
            raise RuntimeError(reason)
        return (numbers,)

    for _ in range(WARM):
        recorded(work, torch.zeros(1))
    with pytest.raises(kind, match=message):
        recorded(work, torch.zeros(1))
    assert gc.isenabled()
