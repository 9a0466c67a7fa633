"""Workers: this process, or several beside it. They take points until none is left, and stop when they are told to."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import psutil
import torch
from optuna.storages import BaseStorage

from src.compute import device
from src.core.errors import UserError, command
from src.params import Params
from src.search.plan import Plan
from src.search.points import Points
from src.search.stop import Stop
from src.search.storage import open_storage
from src.search.trial import run
from src.training.trainer import Trainer

_LOOK = 0.3  # seconds between two looks at what others do
_DEVICE_LOST = 3  # exit code of a worker whose accelerator no longer computes for it
_WORTH = 20.0  # seconds of work for which more processes are started; each first imports torch for 3 to 5


def room(params: Params, trainings: int, seconds: float) -> int:
    """How many trainings whose results do not depend on each other go on at once: as many as there are processors for
    and, by what this process has taken so far, memory. One on a GPU, and where all of them take so few `seconds` that
    processes would not be worth their start."""
    if seconds < _WORTH:
        return 1
    if device.prepare(params.train, params.model.name).device.type != "cpu":
        return 1
    process = psutil.Process()
    processors = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory().available // process.memory_info().rss
    return max(1, min(trainings, processors // device.threads(params.train, params.model.name), memory))


def work_here(
    plan: Plan, storage: BaseStorage, url: str, session: str, trainer: Trainer, stop: Stop, look: Callable[[], None]
) -> None:
    """Takes points until none is left, those of workers that die elsewhere too; calls `look` after each."""
    points = Points(storage, url, plan, session)
    _take(points, plan, trainer, stop, look)


def _take(points: Points, plan: Plan, trainer: Trainer, stop: Callable[[], bool], look: Callable[[], None]) -> None:
    while not stop():
        point = points.claim()
        if point is None:
            if points.done():
                break
            time.sleep(_LOOK)
            continue
        try:
            run(point, plan, trainer)
        except KeyboardInterrupt:
            point.let_go()
            raise
        look()


def work_apart(
    plan: Plan, storage: BaseStorage, url: str | None, session: str, workers: int, stop: Stop, look: Callable[[], None]
) -> None:
    """The same by `workers` processes. One that is killed, or loses its device, is replaced; one that fails ends the
    search."""
    points = Points(storage, url or "", plan, session)
    context = multiprocessing.get_context("spawn")
    # Their progress bars would write over each other. Read when tqdm is imported.
    os.environ["TQDM_DISABLE"] = "1"

    def start() -> multiprocessing.context.SpawnProcess:
        process = context.Process(target=_worker, args=(plan, url, session, os.getpid()), daemon=True)
        process.start()
        return process

    processes = [start() for _ in range(workers)]
    told = False
    try:
        while any(process.is_alive() for process in processes) or not (stop() or points.done()):
            look()
            for place, process in enumerate(processes):
                if process.exitcode is None or process.exitcode == 0:
                    continue
                if process.exitcode > 0 and process.exitcode != _DEVICE_LOST:
                    raise UserError("a worker failed, as said above; finished trials are kept: start again to go on")
                if not stop() and not points.done():
                    processes[place] = start()
            if stop() and not told:
                told = True
                for process in processes:
                    process.terminate()  # they finish what they train: see _worker
            time.sleep(_LOOK)
    except BaseException:
        for process in processes:
            process.kill()
            process.join()
        points.release(session)
        raise
    finally:
        del os.environ["TQDM_DISABLE"]
    look()


def _worker(plan: Plan, url: str | None, session: str, parent: int) -> None:
    """A process of its own. SIGTERM: it stops after its trial. Ctrl-C reaches it too, and is left to its parent."""
    stopping = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()

    def main() -> None:
        points, trainer = (
            Points(open_storage(url), url or "", plan, session),
            Trainer(plan.params.model, plan.params.train, "train", "validation"),
        )
        try:
            _take(points, plan, trainer, stopping.is_set, lambda: None)
        except torch.AcceleratorError as error:
            told = str(error).partition("\n")[0]
            print(f"warning: a worker lost its device, its point is tried again: {told}", file=sys.stderr, flush=True)
            os._exit(_DEVICE_LOST)  # at once: what clears up would ask the device again

    command(main)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)  # nobody is left to tell it anything; its point is taken over when the search goes on
