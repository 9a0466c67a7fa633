"""Spoilt files, a few (`python tests/fuzz.py` for many), and that the watch over their readers sees what it is for."""

import subprocess
import sys

import pytest
from clones import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and forks as Linux has them")

# Each in the place of a reader.
HARMS = {
    "lambda *_: open('../outside', 'w')": "Harm: open of",
    "lambda *_: os.symlink('/etc/passwd', 'inside')": "Harm: os.symlink of",
    "lambda *_: Path('x').rename('../x')": "Harm: os.rename of",
    "lambda *_: os.rename('../beside', 'inside')": "Harm: os.rename of",
    "lambda *_: subprocess.run(['true'])": "Harm: subprocess.Popen",
    "lambda *_: socket.create_connection(('127.0.0.1', 9))": "Harm: socket.connect",
    "lambda *_: pickle.loads(pickle.dumps(os.path.join))": "Harm: pickle.find_class",
    "lambda *_: bytearray(2**27 + 2**24)": "MiB of memory",
    "lambda *_: np.empty(2**28, np.uint8)": "MiB of memory",
    "lambda *_: {}['x']": "KeyError",
    "lambda *_: os.kill(os.getpid(), 9)": "the process died: exit code -9",
    "lambda *_: time.sleep(60)": "more than 3 s",
    "lambda *_: (_ for _ in ()).throw(UserError('x' * 5000))": "a message of 5,000 characters",
    "lambda *_: None": "",
    "lambda *_: (_ for _ in ()).throw(UserError('x'))": "",
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_spoilt_files_are_accepted_or_refused() -> None:
    done = run("tests/fuzz.py", "--count", "300")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 files, 0 faults" in done.stdout
    for row in done.stdout.splitlines()[2:7]:
        mutated, accepted, refused = (int(number) for number in row.split("|")[2:5])
        assert accepted > 0, row
        assert refused > accepted / 2, row
        assert mutated == accepted + refused


def test_the_watch_sees_harm() -> None:
    code = f"""
import os, pickle, socket, subprocess, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, "tests")
import fuzz
import numpy as np
from fuzz_bytes import Sample
from src.core.errors import UserError
fuzz.SECONDS, fuzz.MEMORY = 3, 2**27
made = [Sample(kind, "x", b"x", lambda chance, data: data) for kind in fuzz.SHARES]
with tempfile.TemporaryDirectory() as folder:
    for harm in {list(HARMS)!r}:
        fuzz.read = eval(harm)
        ((_, outcome),) = fuzz.fuzz(range(1), 0, made, Path(folder))
        print(outcome.wrong)
"""
    done = run("-c", code)
    told = done.stdout.splitlines()
    assert len(told) == len(HARMS), done.stdout + done.stderr
    for (harm, wanted), found in zip(HARMS.items(), told, strict=True):
        assert bool(found) == bool(wanted), (harm, found)
        assert wanted in found, (harm, found)
