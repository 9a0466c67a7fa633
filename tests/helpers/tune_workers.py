"""Workers without torch, which start fast and do what the dropout of a training says."""

import os
import signal
from multiprocessing.connection import Connection
from typing import Any

from src.core.errors import UserError
from src.search.messages import Outcome
from src.training.epoch import Epoch

KILLED, BUG, OUT_OF_MEMORY = 0.1, 0.3, 0.4


def scripted(pipe: Connection, *_: Any) -> None:
    pipe.send(None)
    while True:
        dropout = pipe.recv().model.dropout
        pipe.send(Epoch(1, 0.1, 0.9, 0.5, 0.5, 1e-3, True, 1.0, 1.0, None, []))
        told = pipe.recv()
        if dropout == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if dropout == BUG:
            raise RuntimeError("a bug")
        pipe.send(Outcome("complete", {"pid": os.getpid(), "told": told}, spent=dropout == OUT_OF_MEMORY))


def has_no_data(pipe: Connection, *_: Any) -> None:
    pipe.send(UserError("the data are gone"))


def dies_at_once(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
