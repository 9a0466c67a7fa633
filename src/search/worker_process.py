"""Train in a process of its own what comes through a pipe, with the `Trainer` of the stage train."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

import torch
from tqdm import tqdm

from src.core.errors import UserError, known_cause, out_of_memory
from src.data.prepared import SplitName
from src.params import Params
from src.search.messages import Outcome, Task
from src.training.trainer import LESS_MEMORY, Trainer, Training


def work(
    pipe: Connection,
    params: Params,
    splits: Sequence[SplitName],
    measure: Callable[[Trainer, Training], Mapping[str, Any]],
) -> None:
    """Train until the process is killed. Device and data are prepared once, by `params`."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own lock is a semaphore, which a killed process leaves behind
    with suppress(EOFError, ConnectionError):  # the parent was killed
        try:
            trainer = Trainer(params.model, params.train, *splits)
        except (UserError, OSError) as fault:
            pipe.send(fault)
            return
        pipe.send(None)
        while True:
            task = pipe.recv()
            pipe.send(_train(trainer, task, pipe, measure))


def _train(
    trainer: Trainer, task: Task, pipe: Connection, measure: Callable[[Trainer, Training], Mapping[str, Any]]
) -> Outcome:
    """Train to the end, or until the search stops it.

    A loss that is not finite, too little memory or a network that does not fit its images is an outcome; torch raises
    `RuntimeError` for most of them. After an error of the accelerator, this process cannot use it any more.
    """
    try:
        training = trainer.start(task.model, task.train, task.seed)
        with closing(training.epochs) as epochs:  # type: ignore[type-var]
            for epoch in epochs:
                pipe.send(epoch)
                if pipe.recv() and epoch.number < task.train.epochs:
                    return Outcome("pruned")
        return Outcome("complete", measure(trainer, training))
    except (UserError, MemoryError, RuntimeError) as error:
        reason = known_cause(error, LESS_MEMORY) or " ".join(str(error).split())[:300] or type(error).__name__
        spent = out_of_memory(error) or isinstance(error, torch.AcceleratorError)
        return Outcome("failed", reason=reason, spent=spent)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)
