"""Workers without torch, which start fast and do what the dropout of a training says."""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.search.messages import Outcome
from src.training.epoch import Epoch

KILLED, KILLED_ONCE, BUG, OUT_OF_MEMORY = 0.1, 0.2, 0.3, 0.4


def scripted(pipe: Connection, *_: Any) -> None:
    pipe.send(None)
    while True:
        dropout = pipe.recv().model.dropout
        told = [_epoch(pipe, 1)]
        if dropout == KILLED or (dropout == KILLED_ONCE and not Path("killed").exists()):
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        told.append(_epoch(pipe, 2))
        if dropout == BUG:
            raise RuntimeError("a bug")
        measured = {"pid": os.getpid(), "told": told}
        pipe.send(Outcome("complete", measured, spent=dropout == OUT_OF_MEMORY))


def _epoch(pipe: Connection, number: int) -> bool:
    pipe.send(Epoch(number, 0.1, 0.9, 0.5, 0.5, 1e-3, True, 1.0, 1.0, None, []))
    return bool(pipe.recv())


def has_no_data(pipe: Connection, *_: Any) -> None:
    pipe.send(UserError("the data are gone"))


def dies_at_once(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
