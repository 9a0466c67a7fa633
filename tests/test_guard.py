"""The process that stays beside DVC, and the file by which it knows DVC's processes."""

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from src import durable, guard, rwlock
from src.paths import GUARD, LOCK, RWLOCK, synced

ROOT = Path.cwd()
COMMAND = "/somewhere/bin/dvc repro"


@pytest.fixture(autouse=True)
def _clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    RWLOCK.parent.mkdir(parents=True)


@pytest.fixture
def dvc() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that looks like it."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()", "/somewhere/bin/dvc", "repro"], stdin=subprocess.PIPE
    ) as dvc:
        yield dvc
        dvc.kill()


def noted(*pids: int) -> None:
    """As DVC notes what reads and writes, a process for each."""
    entries = [{"pid": pid, "cmd": COMMAND} for pid in pids]
    RWLOCK.write_text(json.dumps({"write": {"/a": entries[0]}, "read": {"/b": entries}}), encoding="utf-8")


def watching() -> "subprocess.Popen[bytes]":
    code = (
        f"import sys; sys.path.insert(0, {str(Path(guard.__file__).parents[1])!r}); from src import guard; guard.main()"
    )
    return subprocess.Popen([sys.executable, "-c", code])


def test_working_are_the_living_processes_that_are_dvc(dvc: "subprocess.Popen[bytes]") -> None:
    assert rwlock.working() == []
    noted(dvc.pid, 1, 2**30, 2**80)
    assert rwlock.working() == [psutil.Process(dvc.pid)]
    dvc.kill()
    dvc.wait()
    assert rwlock.working() == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"write": []}', '{"read": {"/a": [3]}}', '{"write": {"a": {}}}']
)
def test_what_dvc_would_not_read_is_cleared(content: str) -> None:
    RWLOCK.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"line|form"):
        rwlock.working()
    assert rwlock.clear()
    assert not RWLOCK.exists()


def test_what_a_living_dvc_notes_is_left_alone(dvc: "subprocess.Popen[bytes]") -> None:
    assert not rwlock.clear(), "there is none"
    noted(1, dvc.pid)
    assert not rwlock.clear()
    RWLOCK.write_text("{}", encoding="utf-8")
    assert not rwlock.clear()
    assert RWLOCK.exists()


def test_while_dvc_writes_nothing_is_cleared() -> None:
    RWLOCK.write_text("", encoding="utf-8")
    with RWLOCK.with_name("rwlock.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not rwlock.clear()
    assert rwlock.clear()


def test_one_guard_stays_until_dvc_has_ended_and_syncs_what_it_writes(dvc: "subprocess.Popen[bytes]") -> None:
    noted(dvc.pid)
    first = watching()
    while not synced().exists():
        assert first.poll() is None
    assert watching().wait() == 0, "one is enough"
    before = synced().read_text()
    LOCK.write_text("schema: '2.0'\n", encoding="utf-8")
    while synced().read_text() == before:
        time.sleep(0.01)
    RWLOCK.write_text('{"wri', encoding="utf-8")  # DVC is killed while it writes
    assert first.poll() is None
    dvc.kill()
    dvc.wait()
    assert first.wait() == 0
    assert not RWLOCK.exists()
    assert LOCK.read_text(encoding="utf-8") == "schema: '2.0'\n"


def test_a_stage_has_a_guard_under_dvc_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    guard.begin()
    monkeypatch.setattr(durable, "damaged", lambda: pytest.fail("nobody asked"))
    guard.begin()
    assert not GUARD.exists()
