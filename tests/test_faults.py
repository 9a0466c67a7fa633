"""What the user can mend is one line and exit code 2, from every stage: no traceback, nothing half-written."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounts import small_disk

from src.faults import Fault, command

ROOT = Path.cwd()


def run_stage(stage: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for name in ("src", "stages", "dvc.yaml", "params.yaml", "requirements.lock"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"], cwd=folder, capture_output=True, text=True, check=False
    )


def only_line(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 2, run.stderr
    (line,) = run.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        ("split", "data/raw"),
        ("train", "data/prepared/dataset.json"),
        ("evaluate", "data/prepared/dataset.json"),
        ("visualize", "data/prepared/dataset.json"),
    ],
)
def test_a_stage_that_is_started_too_early_says_what_it_lacks(stage: str, missing: str, tmp_path: Path) -> None:
    assert only_line(run_stage(stage, tmp_path)) == (
        f"error: {missing}: missing: run dvc repro, which makes what a stage needs"
    )
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    for stage in ("download", "split"):
        assert run_stage(stage, tmp_path).returncode == 0
    return tmp_path


@pytest.fixture
def full(prepared: Path) -> Iterator[Path]:
    """The folder models/ on a real file system without a free page: root ignores permissions, but not that."""
    (prepared / "models").mkdir()
    with small_disk(prepared / "models", "64k"):
        yield prepared


def test_training_on_a_full_disk_is_one_line(full: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (full / "params.yaml").unlink()
    (full / "params.yaml").write_text(text.replace("epochs: 30", "epochs: 1 "), encoding="utf-8")
    run = run_stage("train", full)
    assert run.returncode == 2
    assert "the disk is full" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert not list((full / "models").iterdir())


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (Fault("two\nlines"), 2, "error: two lines\n"),
        (OSError(errno.EROFS, "read-only", "reports/a.csv"), 2, "error: reports/a.csv: the file system is read-only"),
        (PermissionError(errno.EACCES, "denied", "models"), 2, "error: models: permission denied"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
    ],
)
def test_a_command_ends_with_a_line_and_a_code(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as left:
        command(main)
    assert left.value.code == code
    assert capsys.readouterr().err.startswith(text)


def test_what_is_not_the_users_fault_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command(main)


@pytest.mark.parametrize(
    ("work", "code", "told"),
    [
        ("for number in range(100_000): print(number)", 141, ""),
        ("raise BrokenPipeError(32, 'another pipe')", 1, "BrokenPipeError: [Errno 32] another pipe"),
    ],
)
def test_a_reader_that_has_seen_enough_is_no_fault_but_another_broken_pipe_is(work: str, code: int, told: str) -> None:
    program = f"from src.faults import command\ndef main():\n    print(0)\n    {work}\ncommand(main)"
    reader = "head -n 1" if code == 141 else "cat"
    line = ["bash", "-c", f'set -o pipefail; "$0" -c "$1" | {reader}', sys.executable, program]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (code, "0\n")
    assert run.stderr.strip().endswith(told)
    assert bool(run.stderr) == bool(told)
