"""Points of a search: the same table however often it is stopped, never more than asked, none lost."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from mounts import small_disk
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from tune_samples import accuracy, opened, plan, train, work

from src.core.errors import UserError
from src.search.points import ATTEMPTS, Points
from src.search.results import attempts_table, finished
from src.search.storage import Journal, journal, open_storage


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


def table(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    return [(trial.number, trial.state.name, trial.value, trial.params) for trial in trials]


def dead(points: Points) -> Points:
    """As if its process had been killed."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    points._owner = points._owner | {"pid": process.pid, "token": f"dead {process.pid}"}
    return points


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "gp", "grid"])
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_search_stopped_anywhere_gives_the_table_of_one_that_was_not(
    sampler: str, pruner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space: dict[str, dict[str, Any]] = {
        "train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
        "model.dropout": {"low": 0.0, "high": 0.5},
    }
    if sampler == "grid":
        space = {"model.dropout": {"low": 0.0, "high": 0.5, "step": 0.1}, "train.batch_size": {"choices": [16, 32]}}
    count = 12 if sampler == "gp" else 24
    search = plan(count, sampler=sampler, pruner=pruner, space=space)
    whole = opened(None, search)[1]
    work(whole)
    expected = table(whole.all())
    assert len(expected) == (12 if sampler in ("gp", "grid") else 24)
    assert len({str(row[3]) for row in expected}) == len(expected), "no point twice"

    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "other"))
    stopped = 0
    while True:
        points = opened(None, search)[1]
        if points.done():
            break
        for _ in range(4):
            if point := points.claim():
                train(point)
        if point := dead(points).claim():
            train(point, epochs=stopped % 3)  # pruned there, it is finished all the same
            stopped += 1
    assert table(points.all()) == expected
    assert stopped >= 2
    rows = attempts_table(finished(points.all()))
    assert (rows["ended"] == "worker died").any()
    assert rows["point"].nunique() == len(expected)


def test_a_point_is_not_taken_from_a_worker_that_lives() -> None:
    search = plan(2)
    mine, other = opened(None, search)[1], opened(None, search)[1]
    first = mine.claim()
    second = other.claim()
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (0, 1)
    assert opened(None, search)[1].claim() is None, "no third point"
    train(first)
    train(second)
    assert mine.done()


def test_a_worker_of_another_machine_is_dead_when_its_counter_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    search = plan(1)
    storage, far = opened(None, search)
    far._owner["host"] = "far away"
    lost = far.claim()
    assert lost is not None
    monkeypatch.setattr("src.search.points.GRACE", 0.3)
    here = opened(None, search)[1]
    for count in range(4):  # it lives as long as it counts
        storage.set_trial_user_attr(lost._id, "beat", count)
        assert here.claim() is None
        time.sleep(0.2)
    time.sleep(0.3)
    taken = here.claim()
    assert taken is not None
    assert taken.number == 0
    assert not lost.mine(), "it finds out at its next epoch"
    train(lost)
    assert not here.done()
    train(taken)
    assert here.done()


def test_a_point_that_kills_its_workers_fails_in_the_end_and_the_others_go_on() -> None:
    search = plan(2)
    for _ in range(ATTEMPTS):
        assert dead(opened(None, search)[1]).claim() is not None
    points = opened(None, search)[1]
    work(points)
    states = [trial.state for trial in points.all()]
    assert states == [TrialState.FAIL, TrialState.COMPLETE]
    assert "died 5 times" in finished(points.all())[0].reason


def test_a_point_beyond_the_last_is_kept_for_a_longer_search() -> None:
    few, more = plan(1), plan(3)
    points = opened(None, few)[1]
    one = points.claim()
    late = opened(None, more)[1].claim()
    assert one is not None
    assert late is not None
    train(one)
    late.let_go()
    assert points.done()
    assert len(points.all()) == 1
    longer = opened(None, more)[1]
    work(longer)
    assert [trial.number for trial in longer.all()] == [0, 1, 2]
    assert all(trial.state.is_finished() for trial in longer.all())


def test_a_full_disk_loses_no_finished_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "small"
    place.mkdir()
    with small_disk(place, "64k"):
        monkeypatch.setenv("DVC_ROOT", str(place))
        search = plan(200)
        points = opened(None, search)[1]
        with pytest.raises(OSError, match="No space left") as error:
            work(points)
        assert error.value.filename == str(journal())
        before = table([trial for trial in opened(None, search)[1].all() if trial.state.is_finished()])
        assert before
        kept = journal().read_bytes()
        monkeypatch.setenv("DVC_ROOT", str(tmp_path))  # there is room again
        journal().parent.mkdir(parents=True)
        journal().write_bytes(kept)
        again = opened(None, search)[1]
        for _ in range(3):
            point = again.claim()
            assert point is not None
            train(point)
        assert table(again.all())[: len(before)] == before


def test_half_a_line_is_removed_before_the_next(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    backend = Journal(file)
    backend.append_logs([{"op_code": 0, "name": "a"}])
    with file.open("ab") as stream:
        stream.write(b'{"op_code": 4, "' + b"x" * 9000)
    backend.append_logs([{"op_code": 0, "name": "b"}])
    assert [log["name"] for log in Journal(file).read_logs(0)] == ["a", "b"]


def test_half_a_first_line_is_removed_too(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    file.write_bytes(b"{" * 5000)
    Journal(file).append_logs([{"op_code": 0, "name": "b"}])
    assert [log["name"] for log in Journal(file).read_logs(0)] == ["b"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://joe:s3cret@127.0.0.1:1/none", "Connection refused"),
        ("sqlite:////nowhere/file.db", "unable to open database file"),
        ("oracel://host/name", "Can't load plugin"),
        ("file.db", "must be a URL"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as fault:
        open_storage(url)
    assert "s3cret" not in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_storage_that_is_away_for_a_moment_is_waited_for(
    sampler: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Points that stood between two values when it went away get the values that they would have got."""
    search = plan(12, sampler=sampler)
    work(opened(None, search)[1])
    expected = table(opened(None, search)[1].all())
    monkeypatch.setattr("src.search.storage._AGAIN", 0.0)
    url = "sqlite:///" + str(journal().with_name("away.db"))
    storage, points = opened(url, search)
    answers = 0

    def sometimes(name: str) -> None:
        ask = getattr(storage, name)

        def answer(*arguments: Any, **named: Any) -> Any:
            nonlocal answers
            answers += 1
            given = ask(*arguments, **named) if answers % 7 else None  # lost on the way there,
            if answers % 7 == 0 or answers % 11 == 0:  # or on the way back
                raise StorageInternalError("the server closed the connection")
            return given

        monkeypatch.setattr(storage, name, answer)

    for name in ("create_new_trial", "set_trial_param", "set_trial_intermediate_value", "set_trial_state_values"):
        sometimes(name)
    work(points)
    assert table(points.all()) == expected
    assert len(storage.get_all_trials(points._study)) == 12
    assert "the server closed the connection; finished trials are kept; trying again" in capsys.readouterr().err


def test_a_storage_that_stays_away_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    storage, points = opened(None, plan(2))
    monkeypatch.setattr("src.search.storage._AGAIN", 0.0)
    monkeypatch.setattr("src.search.storage.PATIENCE", 0.1)
    monkeypatch.setattr(storage, "get_all_trials", Mock(side_effect=StorageInternalError("gone")))
    with pytest.raises(UserError, match="gone; finished trials are kept"):
        points.claim()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a database of a server of its own, by the programs of Debian's package postgresql."""
    programs = [Path(found).parent for found in [shutil.which("initdb")] if found]
    programs += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not programs:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl (Debian: apt install postgresql)")
    root = os.geteuid() == 0  # which PostgreSQL refuses to be
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if root:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)

    def run(*command: str) -> None:
        subprocess.run(
            [str(programs[-1] / command[0]), *command[1:]], cwd=folder, user="nobody" if root else None,
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    data = str(folder / "data")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    try:
        run("initdb", "-D", data, "-U", "joe", "-A", "trust", "--no-sync")
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://joe@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_on_postgresql_no_point_is_lost_or_doubled_while_workers_are_killed(postgresql: str, tmp_path: Path) -> None:
    count = 24
    command = [sys.executable, "tests/tune_samples.py", postgresql, str(count), "0.01"]
    environment = os.environ | {"PYTHONPATH": "."}

    def start() -> "subprocess.Popen[bytes]":
        with (tmp_path / "errors").open("ab") as errors:
            return subprocess.Popen(command, env=environment, stderr=errors)

    # All at once on a database without tables: they also race for the study.
    workers = [start() for _ in range(4)]
    points: Points | None = None
    killed, done = 0, 0
    try:
        until = time.monotonic() + 500
        while points is None or not points.done():
            assert time.monotonic() < until, "stuck"
            time.sleep(0.5)
            points = points or opened(postgresql, plan(count))[1]
            before, done = done, sum(trial.state.is_finished() for trial in points.all())
            if done - before < 4:  # not before a new worker, too, had the time to start
                done = before
            elif done < count:
                victim = killed % 4
                workers[victim].send_signal(signal.SIGKILL)
                workers[victim].wait()
                workers[victim] = start()
                killed += 1
        for worker in workers:
            assert worker.wait(timeout=60) == 0, (tmp_path / "errors").read_text()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert killed
    trials = points.all()
    assert [trial.number for trial in trials] == list(range(count))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            assert trial.value == pytest.approx(accuracy(trial.params, 9))
    # Beyond the last point there may be some that were given out at the same moment: nobody trained them.
    surplus = points._storage.get_all_trials(points._study)[count:]
    assert all(trial.user_attrs["owner"] is None and not trial.intermediate_values for trial in surplus)
