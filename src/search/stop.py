"""A search stops before its end at Ctrl-C, or when its time is up."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Tell if it is time to stop: after the first Ctrl-C, or when the time is up. The second interrupts at once."""

    def __init__(self, seconds: float | None) -> None:
        self.asked = False
        self.late = None if seconds is None else time.monotonic() + seconds

    def __call__(self) -> bool:
        return self.asked or (self.late is not None and time.monotonic() > self.late)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let the first Ctrl-C inside the block only set `asked`."""
        before = signal.signal(signal.SIGINT, self._interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"\nstopping after the running trials; Ctrl-C again: at once\n")
