"""What the user can repair is one line and exit code 2, from every stage: no traceback, nothing half-written."""

import errno
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from clones import linked
from forked import CHECKING, Forked
from mounts import fill, small_disk

from src.core.errors import UserError, command

FULL = "the disk is full: free some space and start again\n"


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        ("split", "data/raw"),
        ("train", "data/prepared/dataset.json"),
        ("evaluate", "data/prepared/dataset.json"),
        ("visualize", "data/prepared/dataset.json"),
    ],
)
def test_a_stage_that_is_started_too_early_says_what_it_lacks(
    stage: str, missing: str, forked: Forked, tmp_path: Path
) -> None:
    told = forked.run(linked(tmp_path), f"stages.{stage}", 2)
    assert told == f"error: {missing}: missing: run dvc repro, which makes what a stage needs\n"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "place", "kilobytes"), [("split", "data/prepared", 0), ("evaluate", "reports", 32)])
def test_a_stage_on_a_full_disk_is_one_line_and_what_it_leaves_is_complete(
    stage: str, place: str, kilobytes: int, forked: Forked, finished: Path, tmp_path: Path
) -> None:
    """Full already, or after some of the outputs. On a real file system: root ignores permissions, but not that."""
    folder, disk = tmp_path / "run", tmp_path / "run" / place
    shutil.copytree(finished, folder, symlinks=True)
    before = files(disk)
    shutil.rmtree(disk)
    disk.mkdir()
    with small_disk(disk, "8m"):
        fill(disk)
        os.truncate(disk / "filler", (disk / "filler").stat().st_size - kilobytes * 1024)
        told = forked.run(folder, f"stages.{stage}", 2).splitlines(keepends=True)
        assert told[-1].endswith(FULL)
        assert [line for line in told if line.startswith(("error", "Traceback"))] == told[-1:]
        (disk / "filler").unlink()
        left = files(disk)
        assert bool(left) == bool(kilobytes)
        forked.run(folder, f"stages.{stage}")
        after = files(disk)
    assert left.items() <= after.items(), "no half of a file, no temporary one"
    assert after.items() <= before.items()


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserError("two\nlines"), 2, "error: two lines\n"),
        (OSError(errno.EROFS, "read-only", "reports/a.csv"), 2, "error: reports/a.csv: read-only\n"),
        (OSError(errno.EDQUOT, "exceeded", "models"), 2, "error: models: your disk quota is used up: free"),
        (RuntimeError("pool does not have a deterministic implementation, but"), 2, "error: pool is not deterministic"),
        (MemoryError(), 2, "error: out of memory: read less\n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2, "error: out of memory: read less\n"),
        (RuntimeError("MPS backend out of memory"), 2, "error: out of memory: read less\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_a_command_ends_with_a_line_and_a_code(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        command(main, "read less")
    assert left.value.code == code
    assert capsys.readouterr().err.startswith(text)


def test_memory_that_torch_cannot_have_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        torch.empty(2**50, dtype=torch.uint8)

    with pytest.raises(SystemExit):
        command(main, "read less")
    assert capsys.readouterr().err == "error: out of memory: read less\n"


@pytest.mark.parametrize(
    ("work", "code", "told"),
    [
        ("for number in range(100_000): print(number)", 141, ""),
        ("raise BrokenPipeError(32, 'another pipe')", 1, "BrokenPipeError: [Errno 32] another pipe"),
    ],
)
def test_a_reader_that_has_seen_enough_is_no_fault_but_another_broken_pipe_is(work: str, code: int, told: str) -> None:
    program = f"from src.core.errors import command\ndef main():\n    print(0)\n    {work}\ncommand(main)"
    reader = "head -n 1" if code == 141 else "cat"
    line = ["bash", "-c", f'set -o pipefail; "$0" -c "$1" | {reader}', sys.executable, program]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (code, "0\n")
    assert run.stderr.strip().endswith(told)
    assert bool(run.stderr) == bool(told)


def test_an_output_that_is_not_utf8_ends_nothing() -> None:
    program = (
        "from src.core.errors import command, UserError\ndef main():\n    print('8×8 → 0')\n    raise "
        "UserError('→')\ncommand(main)"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (2, rb"8\xd78 \u2192 0" + b"\n", rb"error: \u2192" + b"\n")


COMMANDS = [f"src.{path.stem}" for path in sorted(Path("src").glob("*.py")) if "    command(main" in path.read_text()]


@pytest.mark.parametrize("program", [*CHECKING, *COMMANDS])
def test_every_program_answers_help_and_does_nothing(program: str, forked: Forked, tmp_path: Path) -> None:
    folder = linked(tmp_path)
    before = files(folder)
    told = forked.run(folder, f"{program} --help")
    module = importlib.import_module(program if program != "src.params" else "src.params.__main__")
    assert told.startswith("usage: ")
    assert str(module.__doc__).splitlines()[0] in told
    assert files(folder) == before
