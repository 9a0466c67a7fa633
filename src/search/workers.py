"""Train in processes of their own, each on a GPU if there are GPUs, and replace those that die.

This process imports no torch. At the other end of a pipe, `src.search.worker_process` sends None once it can train, or
why it cannot. Then it gets a `Task`, sends an `Epoch` after every epoch, is told if the training stops there, and sends
an `Outcome` at its end.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Self, TypeVar

from src.compute import portable
from src.compute.threads import cpu_threads
from src.core.errors import UserError
from src.core.pool import processors
from src.data.prepared import SplitName
from src.params import Params, Train
from src.search.messages import Outcome, Task
from src.training.epoch import Epoch

_TRACEBACK = 1  # exit code
_FAILED = "a worker failed, as said above; finished trials are kept: start again to go on"
_ATTEMPTS = 2  # of a training whose process dies: it may have been killed for its memory

Result = TypeVar("Result")


class Worker:
    """Train in a process, which starts with the first training."""

    def __init__(self, *arguments: Any) -> None:
        """Keep the arguments of `_work`, without the pipe."""
        self._arguments = arguments
        self._process: SpawnProcess | None = None
        self._closed = False

    def train(self, task: Task, stops: Callable[[Epoch], bool] = lambda _: False) -> Outcome:
        """Train to the last epoch, or until `stops` returns True for an epoch.

        If the process dies the training begins again, once; `stops` is called from the epoch on that it has not seen.
        Raises `UserError` or `OSError` if processes cannot work at all, and `EOFError` after `close`.
        """
        seen = 0
        for _ in range(_ATTEMPTS):
            ready = False
            try:
                if self._process is None:
                    self._start()
                ready = True
                self._pipe.send(task)
                while isinstance(message := self._pipe.recv(), Epoch):
                    self._pipe.send(message.number > seen and stops(message))
                    seen = max(seen, message.number)
            except (EOFError, ConnectionError):  # the process died
                if self._closed:
                    raise
                assert self._process is not None
                self._process.join()
                if self._process.exitcode == _TRACEBACK:
                    raise UserError(_FAILED) from None
                self._end()
            else:
                outcome: Outcome = message
                if outcome.spent:
                    self._end()
                return outcome
        if not ready:
            raise UserError("workers are killed before they can train, perhaps for memory: use fewer --workers")
        return Outcome("failed", reason="its worker was killed twice, perhaps for memory")

    def close(self) -> None:
        """Kill the process, at any time and from any thread."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def _start(self) -> None:
        """Start the process and wait until it can train. Raises what it says if it cannot."""
        self._pipe, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(theirs, *self._arguments), daemon=True
        )
        process.start()
        theirs.close()  # else the pipe would not end with the process
        self._process = process
        if self._closed:  # meanwhile
            process.kill()
        if fault := self._pipe.recv():
            raise fault

    def _end(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._process = None


class WorkerPool:
    """Hold up to `count` workers, which end with the block.

    measure: called with trainer and training after the last epoch; returns `Outcome.measured`. count: None for
    a process on each GPU, or one without GPUs.
    """

    def __init__(
        self,
        params: Params,
        splits: Sequence[SplitName],
        measure: Callable[..., Mapping[str, Any]],
        count: int | None = None,
    ) -> None:
        self.gpus = visible_gpus(params.train)
        self.count = count or max(1, len(self.gpus))
        train = params.train
        self._fixed = count is not None or self.gpus or train.device not in ("auto", "cpu")
        if train.threads == "auto":  # which is made for a single process
            threads = max(1, cpu_threads(train, params.model.name) // self.count)
            train = train.model_copy(update={"threads": threads})
        self.params = params.model_copy(update={"train": train})
        self._arguments = self.params, splits, measure
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()

    def widen(self, most: int) -> None:
        """Allow up to `most` workers, as processors allow, unless they train on GPUs or the user named a number."""
        if not self._fixed:
            threads = cpu_threads(self.params.train, self.params.model.name)
            self.count = max(self.count, min(most, processors() // threads))

    def each(
        self, work: Callable[[Worker], Result | None], tick: Callable[[], None] = lambda: None
    ) -> Iterator[Result]:
        """Call `work` with every worker, in a thread, until it returns None; yield its other results as they come.

        tick: called about once a second.
        """
        for place in range(len(self._workers), self.count):
            gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
            self._workers.append(Worker(gpu, self.count == 1, *self._arguments))
        threads = ThreadPoolExecutor(self.count)
        running: dict[Future[Result | None], Worker] = {threads.submit(work, each): each for each in self._workers}
        while running:
            tick()
            for done in wait(running, 1, FIRST_COMPLETED).done:
                worker, result = running.pop(done), done.result()
                if result is not None:
                    running[threads.submit(work, worker)] = worker
                    yield result


def visible_gpus(train: Train) -> list[str]:
    """Return the GPUs that trainings may use, as CUDA_VISIBLE_DEVICES names them."""
    if train.device not in ("auto", "cuda") or (train.deterministic == "portable" and portable.available()):
        return []
    import torch  # takes seconds

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]


def _work(pipe: Connection, gpu: str | None, bars: bool, *arguments: Any) -> None:
    """Become a worker that sees one GPU and shows progress bars or not: torch and tqdm read both when imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if not bars:
        os.environ["TQDM_DISABLE"] = "1"  # those of several workers would write over each other
    from src.search.worker_process import work

    work(pipe, *arguments)
