"""Memory that a step frees stays with the process, for the next step."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h
_KEPT = 2**31 - 1  # bytes at the end of the heap, the most that glibc takes


def keep_freed() -> None:
    """Let glibc keep freed memory for the rest of the process; change nothing elsewhere.

    By itself glibc gives large blocks back as soon as they are free. A network takes the same ones again at its next
    step, and each time the kernel fills their pages with zeros, which may take a third of a step on a CPU. The price
    is memory: large networks hold more of it.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _KEPT)
