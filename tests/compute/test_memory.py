"""Freed memory stays with a process that computes on a CPU."""

import subprocess
import sys

import pytest

TAKE_AND_FREE = """
import resource
def faults():
    block = b"x" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = faults()
print(faults() - first)
"""


def pages(setting: str) -> int:
    """Pages that the kernel fills when a block of 64 MiB is taken once more."""
    run = [sys.executable, "-c", f"{setting}\n{TAKE_AND_FREE}"]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_freed_block_is_not_filled_again() -> None:
    assert pages("") > 10_000
    assert pages("from src.compute.memory import keep_freed; keep_freed()") < 100
