"""Start processes that train, each on a GPU if there are GPUs, and replace those that die.

This process imports no torch. The other end of the pipe is `src.search.worker_process`.
"""

import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self

from src.compute import portable
from src.compute.threads import cpu_threads
from src.core.errors import UserError
from src.core.pool import processors
from src.data.prepared import SplitName
from src.params import Params, Train
from src.search.messages import Outcome, Task
from src.training.epoch import Epoch

ATTEMPTS = 5  # of a training whose workers die: it probably kills them
_LOOK = 1.0  # seconds that `train` waits for a message
FAULT = 1  # exit code of a worker with a traceback


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: Task | None = None
    ready: bool = False

    def send(self, message: Task | bool) -> None:
        with suppress(BrokenPipeError):  # it is dead, which `train` finds when it reads the pipe
            self.pipe.send(message)


def visible_gpus(train: Train) -> list[str]:
    """Return the GPUs that trainings may use, as CUDA_VISIBLE_DEVICES names them."""
    if train.device not in ("auto", "cuda") or (train.deterministic == "portable" and portable.available()):
        return []
    import torch  # takes seconds

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]


class WorkerPool:
    """Run trainings in up to `count` processes, which start when there is work and end with the block.

    measure: called with trainer and training after the last epoch; returns `Outcome.measured`. count: None for
    `per_gpu` processes on each GPU, or one without GPUs.
    """

    def __init__(
        self,
        params: Params,
        splits: Sequence[SplitName],
        measure: Callable[..., Mapping[str, Any]],
        count: int | None = None,
        per_gpu: int = 1,
    ) -> None:
        self._splits, self._measure = splits, measure
        self.gpus = visible_gpus(params.train)
        self.count = count or max(1, len(self.gpus) * per_gpu)
        train = params.train
        self._fixed = count is not None or self.gpus or train.device not in ("auto", "cpu")
        if train.threads == "auto":  # which is made for a single process
            threads = max(1, cpu_threads(train, params.model.name) // self.count)
            train = train.model_copy(update={"threads": threads})
        self._params = params.model_copy(update={"train": train})
        self._workers: dict[int, _Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for place in list(self._workers):
            self._end(place)

    def widen(self, most: int) -> None:
        """Allow up to `most` processes, as processors allow, unless they train on GPUs or the user named a number."""
        if not self._fixed:
            threads = cpu_threads(self._params.train, self._params.model.name)
            self.count = max(self.count, min(most, processors() // threads))

    def train(
        self,
        next_task: Callable[[], Task | None],
        stops: Callable[[Task, Epoch], bool] = lambda *_: False,
        tick: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Task, Outcome]]:
        """Yield each training with its outcome, until `next_task` returns None and no training is left.

        stops: called with every epoch; returns whether the training stops there. tick: called about once a second.
        Raises `UserError` if the workers cannot work at all.
        """
        deaths: Counter[int] = Counter()
        again: list[Task] = []
        while True:
            for place in range(self.count):
                worker = self._workers.get(place)
                if worker is not None and worker.task is not None:
                    continue
                task = again.pop() if again else next_task()
                if task is None:
                    break
                worker = self._workers[place] = worker or self._start(place)
                worker.task = task
                worker.send(task)
            busy = {worker.pipe: place for place, worker in self._workers.items() if worker.task is not None}
            if not busy:
                return
            tick()
            for pipe in wait(list(busy), _LOOK):
                place = busy[pipe]  # type: ignore[index]
                worker = self._workers[place]
                task = worker.task
                assert task is not None
                try:
                    message = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    worker.process.join()
                    if worker.process.exitcode == FAULT:
                        raise UserError(
                            "a worker failed, as said above; finished trials are kept: start again to go on"
                        ) from None
                    self._end(place)
                    deaths[task.number] += 1
                    if deaths[task.number] < ATTEMPTS:
                        print("warning: a worker died; its training begins again", file=sys.stderr, flush=True)
                        again.append(task)
                    elif not worker.ready:
                        raise UserError("workers are killed before they can train: use fewer --workers") from None
                    else:
                        reason = f"its worker died {ATTEMPTS} times: killed, perhaps for memory"
                        yield task, Outcome("failed", reason=reason)
                    continue
                if isinstance(message, Epoch):
                    worker.send(stops(task, message))
                elif isinstance(message, Outcome):
                    worker.task = None
                    if message.out_of_memory:  # its process gives all memory back
                        self._end(place)
                    yield task, message
                elif isinstance(message, Exception):
                    raise message
                else:
                    worker.ready = True

    def _start(self, place: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
        arguments = (gpu, self.count == 1, theirs, self._params, self._splits, self._measure)
        process = multiprocessing.get_context("spawn").Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()  # else the pipe would not end with the process
        return _Worker(process, ours)

    def _end(self, place: int) -> None:
        worker = self._workers.pop(place)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _work(gpu: str | None, bars: bool, *arguments: Any) -> None:
    """Become a worker that sees one GPU and shows progress bars or not: torch and tqdm read both when imported."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if not bars:
        os.environ["TQDM_DISABLE"] = "1"  # those of several workers would write over each other
    from src.search.worker_process import work

    work(*arguments)
