"""Kills of real pipeline runs, a few (`python tests/chaos.py` for many), and two runs at once."""

import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import chaos
import pytest
from clones import call, committed

from src import recover
from src.paths import LOCK, LOCKS, RWLOCK

EPOCHS = 4
LAST = "evaluate"  # the pictures are made of what is compared here
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, chaos.Undisturbed]:
    folder = tmp_path_factory.mktemp("chaos")
    return folder, chaos.undisturbed(chaos.template(folder / "template", EPOCHS), folder, EPOCHS, LAST)


def test_killed_runs_end_with_the_bits_of_an_undisturbed_one(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    folder, expected = undisturbed
    chance = random.Random(os.urandom(8))
    harms = ["`kill -9` of `dvc`", "power loss", "SIGTERM to both"]
    plan = [("epochs", harm, chance.uniform(0, 0.5) * expected.seconds["epochs"]) for harm in harms]
    rows: dict[str, chaos.Row] = {}
    clone = chaos.prepare(folder / "template", tmp_path)
    assert [*chaos.series(clone, plan, rows, [], LAST), *chaos.check(clone, expected, EPOCHS)] == [], plan
    assert sum(row.kills for row in rows.values()) >= 1


def test_a_power_failure_of_a_real_disk_costs_nothing_but_time(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    folder, expected = undisturbed
    chance = random.Random(os.urandom(8))
    plan = [(stage, chaos.DISK, chance.uniform(0.3, 1) * expected.seconds[stage]) for stage in ("train", "evaluate")]
    plan.append(("end", chaos.DISK, chance.uniform(0, 5)))
    rows: dict[str, chaos.Row] = {}
    with chaos.prepared(folder / "template", tmp_path, disk=True) as (clone, harms):
        faults = [*chaos.series(clone, plan, rows, [], LAST, harms), *chaos.check(clone, expected, EPOCHS)]
    assert faults == [], plan
    assert rows[chaos.DISK].kills >= 1


def test_a_power_failure_before_anything_was_synced_leaves_no_empty_result(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    """DVC itself syncs nothing, and on a busy disk its guard comes too late."""
    folder, expected = undisturbed
    with chaos.prepared(folder / "template", tmp_path, disk=True) as (clone, harms):
        run = chaos.Repro(clone, "split")
        while run.process.poll() is None or run.guards():
            for guard in run.guards():
                guard.kill()
        assert run.process.returncode == 0, run.output
        harms[chaos.DISK](run)
        call(clone, "dvc", "repro", "split")
        prepared = {name: content for name, content in expected.results.items() if name.startswith("data/prepared/")}
        assert prepared.items() <= chaos.results(clone).items()
        assert list(chaos.damaged(clone)) == []


def test_what_a_power_failure_left_empty_in_dvcs_cache_is_made_again(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    """DVC itself hands empty files out for what they are named by, and records them as results."""
    folder, expected = undisturbed
    clone = Path(shutil.copytree(folder / "clone", tmp_path / "clone", symlinks=True))
    prepared = [name for name in expected.results if name.startswith("data/prepared/")]
    objects = (clone / ".dvc/cache/files/md5").glob("??/*")
    kept = [path for path in objects if path.stat().st_size and not path.name.endswith(".dir")]
    for path in kept + [clone / name for name in prepared]:
        path.unlink()
        path.touch(0o444)  # what DVC has made read-only it does not look at again
    (clone / LOCK).unlink()
    (clone / chaos.MARK).write_text("an-earlier-start 0")
    assert "data/prepared/dataset.json' is empty" in call(clone, "dvc", "repro", "split")
    told = call(clone, "dvc", "repro", "--force", "split", fails=True)
    assert f"damaged in DVC's cache, as by a power failure: {len(kept)} files, removed" in told
    assert "error: DVC may have taken damaged files for results: start it again" in told
    call(clone, "dvc", "repro", "split")
    assert {name: chaos.results(clone)[name] for name in prepared} == {
        name: expected.results[name] for name in prepared
    }


def test_what_a_killed_dvc_left_half_written_is_mended_behind_it(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    folder, expected = undisturbed
    clone = Path(shutil.copytree(folder / "clone", tmp_path / "clone", symlinks=True))
    run = chaos.Repro(clone, "--force", LAST)
    assert run.reach("split"), run.output
    while not run.guards():
        assert run.process.poll() is None, run.output
        time.sleep(0.01)
    run.process.send_signal(signal.SIGSTOP)
    for file in (LOCK, RWLOCK):
        os.truncate(clone / file, (clone / file).stat().st_size // 2)
    chaos.kill_both(run)
    run.gone()
    call(clone, "dvc", "repro", LAST)
    assert chaos.results(clone) == expected.results


def test_what_dvc_waits_for_though_it_is_gone_is_cleared(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    """After another start of the machine its number is soon another process's."""
    clone = Path(shutil.copytree(undisturbed[0] / "clone", tmp_path / "clone", symlinks=True))
    (clone / RWLOCK).write_text(
        json.dumps({"write": {str(clone / "data/prepared"): {"pid": os.getpid(), "cmd": "dvc"}}})
    )
    os.utime(clone / RWLOCK, (0, 0))
    assert "is busy" in call(clone, "dvc", "repro", "--force", "--single-item", "split", fails=True)
    assert f"{RWLOCK} names only other programs: removed" in call(clone, "python", "-m", "src.recover")
    call(clone, "dvc", "repro", "split")


def ignores_ctrl_c(pid: int) -> bool:
    (ignored,) = re.findall(r"^SigIgn:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(ignored, 16) & 1 << signal.SIGINT - 1)


def test_a_ctrl_c_that_comes_before_dvc_has_seen_a_stages_end_is_not_forgotten(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    """DVC ignores it, and the stage has ended."""
    clone = Path(shutil.copytree(undisturbed[0] / "clone", tmp_path / "clone", symlinks=True))
    run = chaos.Repro(clone, "--force", LAST)
    assert run.reach("split")
    while not ignores_ctrl_c(run.process.pid):
        assert run.process.poll() is None, run.output
    run.process.send_signal(signal.SIGSTOP)
    while run.stage_processes():
        time.sleep(0.01)
    chaos.interrupt(run)
    run.process.send_signal(signal.SIGCONT)
    run.gone()
    assert run.process.returncode != 0, run.output
    assert "Running stage 'train'" in run.output, "DVC itself has not noticed"
    assert "training" not in run.output, run.output


def test_a_program_that_uses_dvc_is_taken_for_it(undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path) -> None:
    """A notebook, say: no word of its command line tells."""
    folder, expected = undisturbed
    clone = Path(shutil.copytree(folder / "clone", tmp_path / "clone", symlinks=True))
    program = "from dvc.repo import Repo\nRepo('.').reproduce(['split'], force=True)\n"
    (clone / "program.py").write_text(program, encoding="utf-8")
    call(clone, "python", "-m", "program")
    assert chaos.results(clone) == expected.results


def test_a_second_dvc_repro_is_told_why_not_and_the_first_is_unharmed(
    undisturbed: tuple[Path, chaos.Undisturbed],
) -> None:
    folder, expected = undisturbed
    clone = folder / "clone"
    first = chaos.Repro(clone, "--force", LAST)
    assert first.reach("train"), first.output
    told = call(clone, "dvc", "repro", "--force", LAST, fails=True)
    assert f"(PID {first.process.pid}): " in told, told
    assert first.process.wait() == 0, first.output
    assert len(chaos.epochs_told(first.output)) == EPOCHS, "what is forced is computed, not taken from a checkpoint"
    assert chaos.results(clone) == expected.results


def test_dvcs_own_half_written_files_are_mended(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = undisturbed[1].results["dvc.lock"].decode("utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recover, "_WRITING", 0.3)
    LOCK.write_text(whole, encoding="utf-8")
    committed(tmp_path)
    RWLOCK.parent.mkdir(parents=True)
    for lock, rwlock in ((whole, "{}"), ("schema: '2.0'\n", None)):
        LOCK.write_text(lock, encoding="utf-8")
        if rwlock is not None:
            RWLOCK.write_text(rwlock, encoding="utf-8")
        recover.main()
        assert LOCK.read_text(encoding="utf-8") == lock, "what DVC can read is left alone"
    for lock, rwlock in ((whole[: whole.index("hash") + 2], '{"wri'), ("", "")):
        LOCK.write_text(lock, encoding="utf-8")
        RWLOCK.write_text(rwlock, encoding="utf-8")
        recover.main()
        assert not RWLOCK.exists()
        assert LOCK.read_text(encoding="utf-8") == whole
        assert RWLOCK.with_name("dvc.lock.damaged").read_text(encoding="utf-8") == lock
    newer = whole.replace("md5: ", "md5: 0", 1)
    LOCK.write_text(newer[: newer.index("hash") + 2], encoding="utf-8")
    living = threading.Timer(0.1, LOCK.write_text, (newer,), {"encoding": "utf-8"})
    living.start()
    recover.main()
    living.join()
    assert LOCK.read_text(encoding="utf-8") == newer, "what a living DVC is writing is left alone"
    conflict = f"{whole}<<<<<<< ours\n=======\n>>>>>>> theirs\n"
    LOCK.write_text(conflict, encoding="utf-8")
    recover.main()
    assert LOCK.read_text(encoding="utf-8") == conflict, "what git leaves to its user is left to him"
    LOCK.write_text(whole, encoding="utf-8")
    search = LOCKS[1]
    search.parent.mkdir()
    search.touch()
    recover.main()
    assert not search.exists()
    shutil.rmtree(".git")
    LOCK.write_text("stages: {train", encoding="utf-8")
    recover.main()
    assert not LOCK.exists()
