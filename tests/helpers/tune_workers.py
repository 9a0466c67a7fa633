"""Workers without torch, which start fast and do what the dropout of a training says."""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.search.messages import Outcome
from src.training.epoch import Epoch

KILLED, KILLED_ONCE, BUG, FAULT, OUT_OF_MEMORY = 0.1, 0.2, 0.3, 0.4, 0.5


def scripted(_: str | None, __: bool, pipe: Connection, *arguments: Any) -> None:
    pipe.send("ready")
    while True:
        task = pipe.recv()
        dropout = task.model.dropout
        pipe.send(Epoch(1, 0.1, 0.9, 0.5, 0.5, 1e-3, True, 1.0, 1.0, None, []))
        pipe.recv()
        if dropout == KILLED or (dropout == KILLED_ONCE and not Path("killed").exists()):
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if dropout == BUG:
            raise RuntimeError("a bug")
        if dropout == FAULT:
            pipe.send(UserError("the data are gone"))
        pipe.send(Outcome("complete", {"pid": os.getpid()}, out_of_memory=dropout == OUT_OF_MEMORY))


def dies_at_once(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
