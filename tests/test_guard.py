"""The process that stays beside DVC, and the file by which it knows DVC's processes."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import chaos
import psutil
import pytest

from src import durable, guard, lifetime, recover, rwlock
from src.paths import LOCK, PIPELINE, REPORTS, RWLOCK, synced

ROOT = Path.cwd()


@pytest.fixture(autouse=True)
def _clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    RWLOCK.parent.mkdir(parents=True)
    synced().parent.mkdir()


@pytest.fixture
def dvc() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that could be it: a notebook's has no such name."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as dvc:
        yield dvc
        dvc.kill()


def noted(*pids: int) -> None:
    """As DVC notes what reads and writes, a process for each."""
    entries = [{"pid": pid, "cmd": "dvc repro"} for pid in pids]
    RWLOCK.write_text(json.dumps({"write": {"/a": entries[0]}, "read": {"/b": entries}}), encoding="utf-8")


def watching(
    look: float = guard._LOOK, tick: float = guard._TICK, canary: int | None = None
) -> "subprocess.Popen[bytes]":
    with Path(os.devnull).open() as immortal:
        canary = canary or immortal.fileno()
        program = f"from src import guard; guard._LOOK = {look}; guard._TICK = {tick}; guard.main()"
        return subprocess.Popen([sys.executable, "-c", program, str(os.getpgrp()), str(canary)], pass_fds=[canary])


def marked_after(write: Callable[[], object]) -> None:
    """Waits for the guard's next mark."""
    before = synced().read_text() if synced().exists() else None
    write()
    while not synced().exists() or synced().read_text() == before:
        time.sleep(0.01)


def wait_until_marked(path: Path) -> None:
    """Waits until the guard has synced what the file holds."""
    while durable.marked() <= path.stat().st_mtime_ns:
        time.sleep(0.01)


def test_working_are_the_living_processes_that_were_there_when_it_was_written(dvc: "subprocess.Popen[bytes]") -> None:
    assert rwlock.working() == []
    noted(dvc.pid, 2**30, 2**80)
    assert rwlock.working() == [psutil.Process(dvc.pid)]
    os.utime(RWLOCK, (0, 0))
    assert rwlock.working() == [], "a number that was given again"
    noted(dvc.pid)
    dvc.kill()
    dvc.wait()
    assert rwlock.working() == []


@pytest.mark.parametrize("content", ["", "{", '{"write": {"/a": {"pid', b"\xff"])
def test_what_is_half_written_is_cleared(content: str | bytes) -> None:
    RWLOCK.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"line|codec"):
        rwlock.working()
    assert rwlock.clear() == "was half-written"
    assert not RWLOCK.exists()


@pytest.mark.parametrize(
    "content",
    ["[]", "3", '{"write": []}', '{"read": {"/a": [3]}}', '{"write": {"/a": {}}}', '{"write":' + 9999 * "["],
)
def test_what_no_kill_of_dvc_wrote_is_left_alone(content: str) -> None:
    RWLOCK.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="another form"):
        rwlock.working()
    assert rwlock.clear() == ""
    LOCK.write_text("schema: '", encoding="utf-8")
    recover.mend()
    assert LOCK.exists()


def test_what_dvc_would_wait_for_in_vain_is_cleared_and_nothing_else(dvc: "subprocess.Popen[bytes]") -> None:
    assert not rwlock.clear(), "there is none"
    noted(2**30, dvc.pid)
    assert not rwlock.clear(), "it is alive"
    noted(2**30)
    os.utime(RWLOCK, (0, 0))
    assert not rwlock.clear(), "DVC itself takes it out"
    RWLOCK.write_text("{}", encoding="utf-8")
    assert not rwlock.clear()
    noted(2**30, dvc.pid)
    os.utime(RWLOCK, (0, 0))
    assert rwlock.clear() == "names only other programs"


def test_a_stage_whose_dvc_was_killed_before_it_began_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime, "follow_parent", lambda: None)
    monkeypatch.setattr(subprocess, "Popen", Mock())
    monkeypatch.setenv("DVC_STAGE", "train")
    for content in ("{}", '{"wri'):
        RWLOCK.write_text(content, encoding="utf-8")
        guard.begin()
    noted(os.getppid(), 2**30)
    guard.begin()
    noted(2**30)
    with pytest.raises(lifetime.Ended):
        guard.begin()


def test_while_dvc_writes_nothing_is_cleared() -> None:
    RWLOCK.write_text("", encoding="utf-8")
    with RWLOCK.with_name("rwlock.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not rwlock.clear()
        LOCK.write_text("schema: '", encoding="utf-8")
        recover.mend()
        assert LOCK.exists()
    assert rwlock.clear()


def test_what_a_killed_dvc_had_copied_in_part_goes_but_not_while_dvc_copies() -> None:
    copied = REPORTS / ".VmXB7xBLGoEqC-P8NLAW_A.tmp"
    others = [REPORTS / ".metrics.json.12.tmp", REPORTS / ".short.tmp", Path(".VmXB7xBLGoEqC-P8NLAW_A.tmp")]
    for path in (copied, *others):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with RWLOCK.with_name("lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        recover.mend()
        assert copied.exists()
    recover.mend()
    assert [path.exists() for path in (copied, *others)] == [False, True, True, True]


def test_one_guard_stays_until_dvc_has_ended_and_syncs_what_it_writes(dvc: "subprocess.Popen[bytes]") -> None:
    noted(dvc.pid)
    with watching() as first:
        marked_after(lambda: None)
        assert watching().wait() == 0, "one is enough"
        LOCK.write_text("schema: '2.0'\n", encoding="utf-8")
        wait_until_marked(LOCK)
        RWLOCK.write_text('{"wri', encoding="utf-8")  # DVC is killed while it writes
        time.sleep(2 * guard._LOOK)
        assert first.poll() is None
        dvc.kill()
        dvc.wait()
    assert first.returncode == 0
    assert not RWLOCK.exists()
    assert LOCK.read_text(encoding="utf-8") == "schema: '2.0'\n"


def test_what_dvc_is_writing_is_not_synced_before_it_is_whole() -> None:
    program = "input(); lock = open('dvc.lock', 'w'); print(flush=True); input(); lock.close(); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True, bufsize=1) as dvc:
        assert dvc.stdin
        assert dvc.stdout
        with watching(), dvc.stdin:
            marked_after(lambda: noted(dvc.pid))  # as it starts
            noted(dvc.pid)
            wait_until_marked(RWLOCK)
            before = durable.marked()
            dvc.stdin.write("\n")
            dvc.stdout.readline()
            time.sleep(3 * guard._LOOK)
            assert durable.marked() == before
            marked_after(lambda: dvc.stdin and dvc.stdin.write("\n"))


def test_dvcs_writes_in_a_row_are_synced_after_the_last(dvc: "subprocess.Popen[bytes]") -> None:
    noted(dvc.pid)
    with watching(tick=1):
        marked_after(lambda: noted(dvc.pid))  # as it starts
        noted(dvc.pid)
        wait_until_marked(RWLOCK)
        before = durable.marked()
        for _ in range(20):
            noted(dvc.pid)
            time.sleep(0.1)
        meanwhile = durable.marked()
        marked_after(lambda: None)
        dvc.kill()
    assert meanwhile == before


@pytest.mark.skipif(guard._changes() is None, reason="here the guard has to look")
def test_a_guard_is_woken_by_what_dvc_writes(dvc: "subprocess.Popen[bytes]") -> None:
    noted(dvc.pid)
    with watching(look=1000):
        for _ in range(4):
            marked_after(lambda: noted(dvc.pid))
        dvc.kill()
        dvc.wait()
        noted(dvc.pid)


def test_no_guard_stays_with_a_program_that_uses_dvc_no_more(
    dvc: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    noted(dvc.pid)
    monkeypatch.setattr(guard, "_IDLE", 0.3)
    marks = iter(range(9))
    monkeypatch.setattr(durable, "mark", lambda: next(marks) == 1 and RWLOCK.write_text("{}", encoding="utf-8"))
    with Path(os.devnull).open() as canary:
        monkeypatch.setattr(sys, "argv", ["src.guard", str(os.getpgrp()), str(canary.fileno())])
        guard.main()
    assert next(marks) == 4, "as it began, of both contents, and as it ended"


@pytest.mark.parametrize("early", [False, True])
def test_what_starts_after_a_ctrl_c_that_dvc_has_not_heard_ends_once(
    early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard needs half a second to start, and may find its canary dead."""
    monkeypatch.setenv("DVC_STAGE", "train")
    program = "import subprocess; [print(subprocess.call(['sh', '-c', line])) for line in iter(input, '')]"
    alive, canary = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-uc", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as dvc:
        assert dvc.stdin
        assert dvc.stdout
        noted(dvc.pid)
        if early:
            os.close(alive)
        with watching(canary=canary):
            try:
                os.close(canary)
                if not early:
                    for _ in range(4):
                        marked_after(lambda: noted(dvc.pid))
                    os.close(alive)
                    time.sleep(1)  # a guard that has seen it
                for stage, code in (("sleep 61; true", -signal.SIGTERM), ("sleep 1", 0)):
                    dvc.stdin.write(f"{stage}\n")
                    assert dvc.stdout.readline() == f"{code}\n"
            finally:
                dvc.kill()
    assert not chaos.living(lambda process: process.cmdline() == ["sleep", "61"]), "what a shell had started"


def test_what_follows_a_ctrl_c_much_later_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC heard it, and the program that uses DVC goes on."""
    monkeypatch.setenv("DVC_STAGE", "train")
    program = "import subprocess; input(); print(subprocess.call(['sleep', '1']))"
    alive, canary = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-uc", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as dvc:
        noted(dvc.pid)
        os.close(alive)
        with watching(canary=canary):
            os.close(canary)
            marked_after(lambda: None)
            RWLOCK.write_text("{}", encoding="utf-8")
            time.sleep(guard._BETWEEN + 1)
            assert dvc.communicate("\n")[0] == "0\n"


def test_a_canary_ends_with_its_guard_though_the_stage_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "train")
    stage = """
import psutil
from src import guard
guard.begin()
started = psutil.Process().children()
assert len(started) == 2, started
psutil.wait_procs(started)
"""
    subprocess.run([sys.executable, "-c", stage], check=True, timeout=60)


def test_what_dvc_started_has_a_guard_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    started = Mock()
    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(lifetime, "follow_parent", lambda: None)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    guard.begin()
    started.assert_not_called()
    monkeypatch.setenv("DVC_STAGE", "train")
    guard.begin()
    canary, watching = (call.args[0] for call in started.call_args_list)
    assert canary == ["cat"]
    assert watching[:-1] == [sys.executable, "-m", "src.guard", str(os.getpgrp())]


@pytest.mark.parametrize(
    ("stage", "outputs"),
    [
        (None, ""),
        ("of a template", ""),
        ("train", "a b c d"),
        ("../dvc.yaml:train", "a b c d"),
    ],
)
def test_what_a_stage_writes_is_known(monkeypatch: pytest.MonkeyPatch, stage: str | None, outputs: str) -> None:
    train = "outs: [a, {b: {cache: false}}], metrics: [c: {cache: false}], plots: [d]"
    PIPELINE.write_text(f"stages: {{train: {{cmd: a, deps: [e], {train}}}, other: {{cmd: b, outs: [f]}}}}")
    if stage is not None:
        monkeypatch.setenv("DVC_STAGE", stage)
    assert guard.outputs() == [Path(name) for name in outputs.split()]


@pytest.mark.parametrize("content", [None, "stages: {train: [", "stages: {train: {cmd: a, outs: 3}}"])
def test_a_pipeline_that_is_just_edited_does_not_stop_a_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        PIPELINE.write_text(content)
    monkeypatch.setenv("DVC_STAGE", "train")
    assert guard.outputs() == []
    told = capsys.readouterr().err
    assert re.fullmatch(r"warning: dvc\.yaml: .*: a power failure may cost what DVC writes\n", told)


def test_without_a_guard_a_stage_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", fails)
    monkeypatch.setattr(lifetime, "follow_parent", lambda: None)
    monkeypatch.setenv("DVC_STAGE", "train")
    guard.begin()
    assert "a power failure may cost what DVC writes" in capsys.readouterr().err


def test_a_clone_that_was_removed_meanwhile_stays_so() -> None:
    synced().parent.rmdir()
    durable.mark()
    assert not synced().parent.exists()
