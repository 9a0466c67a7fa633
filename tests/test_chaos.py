"""Kills of real pipeline runs, a few (`python tests/chaos.py` for many), and two runs at once."""

import os
import random
import sys
from pathlib import Path

import chaos
import pytest
from clones import call

LAST = "evaluate"  # the pictures are made of what is compared here
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups as Linux has them")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, chaos.Undisturbed]:
    folder = tmp_path_factory.mktemp("chaos")
    return folder, chaos.undisturbed(chaos.template(folder / "template"), folder, LAST)


def test_killed_runs_end_with_the_bits_of_an_undisturbed_one(
    undisturbed: tuple[Path, chaos.Undisturbed], tmp_path: Path
) -> None:
    folder, expected = undisturbed
    chance = random.Random(os.urandom(8))
    harms = ["`kill -9` of `dvc`", "`kill -9` of both", "SIGTERM to both"]
    plan = [("epochs", harm, chance.uniform(0, 0.5) * expected.seconds["epochs"]) for harm in harms]
    rows: dict[str, chaos.Row] = {}
    clone = chaos.prepare(folder / "template", tmp_path)
    assert [*chaos.series(clone, plan, rows, [], LAST), *chaos.check(clone, expected)] == [], plan
    assert sum(row.stages.total() for row in rows.values()) >= 1


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
    assert len(chaos.epochs_told(first.output)) == chaos.EPOCHS, (
        "what is forced is computed, not taken from a checkpoint"
    )
    assert chaos.results(clone) == expected.results
<<<<<<< .merge_file_FVBAax
=======


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
>>>>>>> .merge_file_WD0G3I
