"""Programs end with what started them, and at signals, with one line."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from repro import heeding_signals

pytestmark = pytest.mark.slow

ROOT = Path.cwd()

WORK = """
import sys, time
from src.core.errors import command

def main():
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        time.sleep(1)
        print("cleaned up", flush=True)

command(main)
"""

# As DVC does: a program that starts a stage (here one that only waits) through a shell.
STARTER = """
import subprocess, sys
subprocess.run(["sh", "-c", sys.argv[1]], check=False)
"""
STAGE = "import stages, time; print('working', flush=True); time.sleep(60)"


def started(code: str, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heeding_signals, start_new_session=True,  # as a terminal gives it
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_signals_end_a_program_after_its_cleaning_up(numbers: list[signal.Signals]) -> None:
    """A stage gets a second SIGTERM when DVC, which got the first one too, is gone."""
    process = started(WORK)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.2)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, "cleaned up\n", "error: interrupted\n")


def test_a_program_in_the_background_still_ignores_ctrl_c() -> None:
    """A shell lets what it starts with `&` ignore it."""
    process = started(
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nimport stages\n" + WORK, DVC_STAGE="x"
    )
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=30)


def test_a_stage_ends_with_what_started_it() -> None:
    process = started(STARTER, f"exec {sys.executable} -c {shlex.quote(STAGE)}", DVC_STAGE="x")
    (stage,) = psutil.Process(process.pid).children()
    process.kill()
    process.communicate(timeout=30)  # until the last that holds its output is gone
    stage.wait(timeout=20)
    assert not stage.is_running()
