"""Programs end with what started them, and at signals: at once, with one line, and never twice."""

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
        time.sleep({cleaning})
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


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 143, "error: ended by SIGTERM\n"),
        (signal.SIGHUP, 129, "error: ended by SIGHUP\n"),
        (signal.SIGINT, 130, "error: interrupted\n"),
    ],
)
def test_a_signal_ends_a_program_cleanly(number: signal.Signals, code: int, line: str) -> None:
    process = started(WORK.format(cleaning=0))
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (code, "cleaned up\n", line)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_sigterm_does_not_disturb_the_cleaning_up(number: signal.Signals, code: int) -> None:
    process = started(WORK.format(cleaning=1))
    for sent in (number, signal.SIGTERM, signal.SIGTERM):
        process.send_signal(sent)
        time.sleep(0.2)
    assert process.communicate(timeout=30)[0] == "cleaned up\n"
    assert process.returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cleaning_up_is_bounded(number: signal.Signals) -> None:
    code = "from src.core import process; process.GRACE = 1\n" + WORK.format(cleaning=50)
    process = started(code)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGALRM


def test_a_second_ctrl_c_ends_at_once() -> None:
    process = started(WORK.format(cleaning=50))
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT


def test_ctrl_c_counts_while_python_shuts_down() -> None:
    """A stage whose Ctrl-C is forgotten lets DVC go on with the next one."""
    ending = "import atexit, time\natexit.register(lambda: [print('shutting down', flush=True), time.sleep(10)])\n"
    process = started(ending + "from src.core.errors import command\ncommand(lambda: None)")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT


def test_a_stage_ends_with_what_started_it() -> None:
    process = started(STARTER, f"exec {sys.executable} -c {shlex.quote(STAGE)}", DVC_STAGE="x")
    (stage,) = psutil.Process(process.pid).children()
    process.kill()
    process.communicate(timeout=30)  # until the last that holds its output is gone
    stage.wait(timeout=20)
    assert not stage.is_running()
