"""End a stage with the DVC that started it."""

import os
import signal
import threading
import time

_LOOK = 0.5  # seconds between two looks at the process that started us


def end_with_dvc() -> None:
    """End this process, where DVC started it, with SIGTERM as soon as DVC is gone.

    DVC leaves its stages running when it is killed: an orphan would write beside those of the next `dvc repro`. Until
    `command` runs, Ctrl-C ends the process without a traceback: one of its imports would help nobody.
    """
    if "DVC_STAGE" in os.environ:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in the background
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        threading.Thread(target=_follow, args=(os.getppid(),), name="follow parent", daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
