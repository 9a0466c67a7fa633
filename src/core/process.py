"""End a program with the DVC that started it, and at the signals by which schedulers end jobs."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 10  # seconds in which an ended program closes its run; then the kernel ends it, whatever it does
_LOOK = 0.5  # seconds between two looks at the process that started us


class Ended(KeyboardInterrupt):
    """Stand for SIGTERM or SIGHUP; being a `KeyboardInterrupt`, it is cleaned up after as Ctrl-C is."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number  # as shells report it


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise `Ended` in the block where a signal would end the process at once, and KeyboardInterrupt at Ctrl-C.

    Cleaning up takes `GRACE` seconds at most. SIGTERM then changes nothing, a second Ctrl-C ends the process at once.
    Ignored signals (nohup) stay ignored.
    """

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.alarm(GRACE)
        if number != signal.SIGINT:
            raise Ended(number)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    replaced = [number for number in before if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    for number in replaced:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in replaced:
            signal.signal(number, before[number])


def end_with_dvc() -> None:
    """End this process, where DVC started it, with SIGTERM as soon as DVC is gone.

    DVC leaves its stages running when it is killed: an orphan would write beside those of the next `dvc repro`. Until a
    program handles signals, Ctrl-C ends it without a traceback: one of its imports would help nobody.
    """
    if "DVC_STAGE" not in os.environ:
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_follow, args=(os.getppid(),), name="follow parent", daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
