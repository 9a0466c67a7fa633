"""Work in threads, in order, with bounded memory."""

import os
import platform
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """Return what the processor calls itself."""
    information = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", information.read_text()) if information.exists() else None
    return model[1] if model else platform.processor()


def map_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int | None = None
) -> Iterator[Result]:
    """Yield `work(item)` for each of `items`, in their order, computed in `threads`.

    At most `ahead` results, by default one for each thread, are being computed or wait to be used.
    """
    ahead = threads if ahead is None else ahead
    window: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            window.append(pool.submit(work, item))
            if len(window) > ahead:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
