"""Trials and their storage: the same table wherever a search is stopped, no trial lost, none run twice."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clones import ROOT
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from tune_samples import SampleWorkers, epoch, plan, searched, take

from src.core.errors import UserError
from src.search import storage
from src.search.messages import Outcome, Task
from src.search.storage import journal, open_storage
from src.search.trial_results import result
from src.search.trials import Trials
from src.training.epoch import Epoch

pytestmark = pytest.mark.usefixtures("root")

GRID = {"model.dropout": {"low": 0.0, "high": 0.5, "step": 0.1}, "train.optimizer.lr": {"choices": [1e-3, 1e-2]}}


def table(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    return [(trial.number, trial.state.name, trial.values, trial.params, result(trial)) for trial in trials]


@pytest.mark.parametrize(
    ("sampler", "pruner", "cuts"),
    [("tpe", "hyperband", 5), ("random", "median", 2), ("grid", "median", 2), ("gp", "none", 1)],
)
def test_a_search_killed_anywhere_gives_the_table_of_one_that_was_not(sampler: str, pruner: str, cuts: int) -> None:
    """A kill leaves the first part of the journal, cut between two records or in the middle of one."""
    space = {"space": GRID} if sampler == "grid" else {}
    search = plan(12, sampler=sampler, pruner=pruner, **space)
    expected = table(searched(search))
    assert len(expected) == 12
    assert len({str(row[3]) for row in expected}) == len(expected), "no trial twice"
    whole = journal(search.name).read_bytes()
    for cut in range(len(whole) // (cuts + 1), len(whole), len(whole) // (cuts + 1)):
        journal(search.name).write_bytes(whole[:cut])
        assert table(searched(search)) == expected, f"cut after {cut} bytes"


def test_a_longer_search_goes_on_and_a_shorter_one_shows_its_first_trials() -> None:
    five, eight = searched(plan(5)), searched(plan(8))
    assert table(eight[:5]) == table(five)
    assert table(searched(plan(3))) == table(five[:3])


class OneWorker(SampleWorkers):
    """Train by a function."""

    def __init__(self, train: Callable[[Callable[[Epoch], bool]], Outcome]) -> None:
        super().__init__()
        self._train = train

    def train(self, task: Task, stops: Callable[[Epoch], bool]) -> Outcome:
        return self._train(stops)


def never() -> bool:
    return False


def test_the_objective_is_the_best_of_all_epochs() -> None:
    """The best accuracy comes before the best loss here, as in a network that becomes too confident."""

    def train(stops: Callable[[Epoch], bool]) -> Outcome:
        for number, (accuracy, loss) in enumerate([(0.5, 1.0), (0.9, 0.7), (0.8, 0.3), (0.7, 0.6)], start=1):
            assert not stops(epoch(number, accuracy, loss))
        return Outcome("complete", {"model_md5": "md5"})

    for objective, value in {"accuracy": 0.9, "loss": 0.3}.items():
        with open_storage(objective, None) as opened:
            trials = Trials(opened, plan(1, objective=objective, pruner="none"))
            trial = trials.run(OneWorker(train), never)  # type: ignore[arg-type]
        assert trial is not None
        assert trial.value == value
        assert result(trial)["history"]["validation_loss"] == [1.0, 0.7, 0.3, 0.6]
        assert result(trial)["best_epoch"] == 4, "the last that was the best so far"


def test_several_workers_run_every_trial_once() -> None:
    search = plan(30, sampler="grid", space=GRID, pruner="none")
    with open_storage(search.name, None) as opened, ThreadPoolExecutor(4) as threads:
        trials = Trials(opened, search)
        list(threads.map(lambda _: take(trials, 0.001), range(4)))
        found = trials.finished()
    assert len(found) == 12
    assert table(found) == table(searched(replace(search, name="alone")))


def test_a_combination_that_the_schema_refuses_is_a_failed_trial() -> None:
    sizes, parts = CategoricalDistribution([32, 36]), CategoricalDistribution([1, 8])
    entries = {"train.batch_size": sizes, "train.accumulate": parts}
    trials = searched(replace(plan(4, sampler="grid", space=GRID), space=entries))
    reasons = {(*trial.params.values(),): result(trial)["reason"] for trial in trials}
    assert "must be a multiple" in reasons.pop((36, 8))
    assert set(reasons.values()) == {""}


@pytest.mark.parametrize("damage", [b'{"op_code": 4, "wor\n', b'{"op_code": 99}\n', b"7\n"])
def test_a_damaged_journal_is_one_line_that_names_the_file(damage: bytes) -> None:
    search = plan(2)
    searched(search)
    lines = journal(search.name).read_bytes().splitlines(keepends=True)
    lines.insert(3, damage)
    journal(search.name).write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=r"sample\.log is damaged: move it away"):
        searched(search)


def test_a_search_is_one_process_s() -> None:
    with open_storage("sample", None), pytest.raises(UserError, match="another process runs this search"):
        searched(plan(1))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://joe:s3cret@127.0.0.1:1/none", "Connection refused"),
        ("sqlite:////nowhere/file.db", "unable to open database file"),
        ("oracel://host/name", "Can't load plugin"),
        ("file.db", "must be a URL"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(UserError, match=message) as fault, open_storage("sample", url):
        pass
    assert "s3cret" not in str(fault.value)
    assert "\n" not in str(fault.value)


def test_what_a_dead_machine_ran_is_run_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is run once, under another number; a process that was only thought dead changes nothing any more."""
    monkeypatch.setattr(storage, "BEAT", 1)
    monkeypatch.setattr(storage, "GRACE", 1)
    monkeypatch.setattr("src.search.trials.BEAT", 0)
    url, search = f"sqlite:///{tmp_path}/study.db", plan(3, sampler="grid", space=GRID, pruner="none")
    found: list[FrozenTrial] = []

    def dies(_: Callable[[Epoch], bool]) -> Outcome:
        raise EOFError

    def sleeps(stops: Callable[[Epoch], bool]) -> Outcome:
        with pytest.raises(EOFError):  # of a second trial, before its first heartbeat
            dead.run(OneWorker(dies), never)  # type: ignore[arg-type]
        time.sleep(2.1)  # the database counts whole seconds
        found.extend(searched(search, url))
        assert stops(epoch(1, 0.5))
        return Outcome("complete")

    with open_storage(search.name, url) as opened:
        dead = Trials(opened, search)
        assert dead.run(OneWorker(sleeps), never) is None  # type: ignore[arg-type]
        assert table(dead.finished()) == table(found)
    assert found[0].number > 0
    assert all(trial.state == TrialState.COMPLETE for trial in found)
    assert len({str(trial.params) for trial in found}) == 3


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """Start a server by the programs of Debian's package postgresql; yield the URL of a database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
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


@pytest.mark.slow
def test_on_postgresql_no_trial_is_lost_or_doubled(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes start at once on a database without tables; one is killed during a trial."""
    monkeypatch.setattr(storage, "GRACE", 3)
    command = [sys.executable, str(ROOT / "tests/helpers/tune_samples.py"), postgresql, "40", "0.02"]
    both = [subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) for _ in range(2)]
    try:
        time.sleep(6)
        both[0].send_signal(signal.SIGKILL)
        search = plan(40, sampler="random")
        with open_storage(search.name, postgresql) as opened:
            trials = Trials(opened, search)
            take(trials, 0.02)
            found = trials.finished()
        assert both[1].wait(timeout=120) == 0
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert len(found) == 40
    assert len({str(trial.params) for trial in found}) == 40
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in found)
