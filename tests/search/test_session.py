"""A whole search whose trials take no time, and which MLflow does not see."""

from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from tune_samples import SampleWorkers, params

from src.core.errors import UserError
from src.core.paths import TRIALS
from src.params import Params
from src.search.session import Stop, find
from src.tracking import identity


@pytest.fixture(autouse=True)
def elsewhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "data_digest", lambda: "data")
    monkeypatch.setattr(identity, "code_digest", lambda: "code")


def search(found: Params) -> None:
    find(found, None, SampleWorkers())  # type: ignore[arg-type]


def test_a_search_whose_time_is_up_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = count()
    monkeypatch.setattr(Stop, "__call__", lambda stop: stop.late is not None and next(asked) not in (1, 2, 3))
    with pytest.raises(UserError, match="no trial was finished: the time was too short"):
        search(params(timeout="1h"))
    assert not TRIALS.exists()
    search(params(timeout="1h"))
    said = capsys.readouterr().out
    assert "the time is up: 3 of 30 trials; start again to go on\nconfirming the best 3 and the present" in said
    search(params(trials=12))
    said = capsys.readouterr().out
    assert "3 of 12 are known already" in said
    assert "12/12" in said
    assert "the time is up" not in said
    assert "results in reports/tuning/index.html" in said


def test_what_ends_a_search_ends_the_threads_that_wait_for_the_trials_of_others() -> None:
    stop = Stop(None)
    assert not stop()
    with suppress(UserError), stop.listening():
        raise UserError("a worker failed")
    assert stop()
