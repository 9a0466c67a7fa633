"""Processes that train, each on a GPU of its own where there are GPUs.

One that dies is replaced, and its training sent again.

The process that starts them imports no torch; the other end of the pipe is `src.search.worker`.
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
from src.training.results import Epoch

ATTEMPTS = 5  # of a training whose worker dies; it is probably what kills them
_LOOK = 1.0  # seconds after which `train` looks up even if no worker says anything
_BAD_STARTS = 20  # workers in a row that are killed before they can train: there is no room for them
FAULT = 1  # exit code of a worker with a traceback


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    task: Task | None = None
    ready: bool = False

    def send(self, message: Task | bool) -> None:
        with suppress(BrokenPipeError):  # it is dead, which the next look at the pipe says
            self.pipe.send(message)


def visible_gpus(train: Train) -> list[str]:
    """Return the GPUs that trainings may use, as CUDA_VISIBLE_DEVICES names them; none on other machines."""
    if train.device not in ("auto", "cuda") or (train.deterministic == "portable" and portable.available()):
        return []
    import torch  # seconds, which only who may have GPUs pays

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]


class Workers:
    """Up to `count` processes, started when there is work for them and ended with the block.

    measure: a function of a module, given trainer and training when its epochs are over, whose result comes back as
    `Outcome.measured`. per_gpu: so many share a GPU. count: None for one on each GPU (times `per_gpu`), else one.
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
        if train.threads == "auto":  # is for a process alone: these share the processors
            threads = max(1, cpu_threads(train, params.model.name) // self.count)
            train = train.model_copy(update={"threads": threads})
        self._params = params.model_copy(update={"train": train})
        self._workers: dict[int, _Worker] = {}
        self._bad_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for place in list(self._workers):
            self._end(place)

    def widen(self, most: int) -> None:
        """Allow up to `most` processes, as far as there are processors for their threads; on GPUs nothing changes."""
        if not self.gpus:
            threads = cpu_threads(self._params.train, self._params.model.name)
            self.count = max(self.count, min(most, processors() // threads))

    def train(
        self,
        next_task: Callable[[], Task | None],
        stops: Callable[[Task, Epoch], bool] = lambda *_: False,
        tick: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Task, Outcome]]:
        """Yield each training with its outcome, until `next_task` has none and none goes on.

        stops: told every epoch, and says whether the training stops there. tick: called about once a second. Raises
        `UserError` where the workers cannot work at all.
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
                    self._died(worker)
                    self._end(place)
                    deaths[task.number] += worker.ready
                    if deaths[task.number] < ATTEMPTS:
                        again.append(task)
                    else:
                        reason = f"its worker died {ATTEMPTS} times: killed, perhaps for memory"
                        yield task, Outcome("failed", reason=reason)
                    continue
                if isinstance(message, Epoch):
                    worker.send(stops(task, message))
                elif isinstance(message, Outcome):
                    worker.task = None
                    if message.out_of_memory:  # all of it is given back to the others
                        self._end(place)
                    yield task, message
                elif isinstance(message, Exception):
                    raise message
                else:
                    worker.ready, self._bad_starts = True, 0

    def _start(self, place: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
        arguments = (gpu, self.count == 1, theirs, self._params, self._splits, self._measure)
        process = multiprocessing.get_context("spawn").Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()  # or its end would never be seen here
        return _Worker(process, ours)

    def _died(self, worker: _Worker) -> None:
        worker.process.join()
        if worker.process.exitcode == FAULT:
            raise UserError("a worker failed, as said above; finished trials are kept: start again to go on")
        if not worker.ready:
            self._bad_starts += 1
            if self._bad_starts == _BAD_STARTS:
                raise UserError(
                    f"{_BAD_STARTS} workers in a row were killed before they could train: use fewer --workers"
                )
        print("warning: a worker died; its training begins again", file=sys.stderr, flush=True)

    def _end(self, place: int) -> None:
        worker = self._workers.pop(place)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _work(gpu: str | None, bars: bool, *arguments: Any) -> None:
    """Become a worker: with one GPU to be seen, and with progress bars or not, which torch and tqdm read early."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if not bars:
        os.environ["TQDM_DISABLE"] = "1"  # those of several workers would write over each other
    from src.search.worker import work

    work(*arguments)
