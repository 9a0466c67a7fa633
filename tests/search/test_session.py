"""A whole search whose trials take no time, and which MLflow does not see."""

from pathlib import Path

import pytest
from tune_samples import SampleWorkers, params

from src.core.errors import UserError
from src.params import Params
from src.search.session import find
from src.tracking import identity


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(identity, "data_digest", lambda: "data")
    monkeypatch.setattr(identity, "code_digest", lambda: "code")


def search(found: Params) -> None:
    find(found, None, SampleWorkers(0.01))  # type: ignore[arg-type]


def test_a_search_whose_time_is_up_says_so_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no trial was finished: the time was too short"):
        search(params(timeout="0.001s"))
    assert not (tmp_path / "reports/tuning/trials.csv").exists()
    search(params(timeout="0.5s"))
    said = capsys.readouterr().out
    assert " of 30 trials; start again to go on\nconfirming the best 3 and the present settings: 20 trainings" in said
    search(params(trials=12))
    said = capsys.readouterr().out
    assert "are known already" in said
    assert "12/12" in said
    assert "the time is up" not in said
    assert "results in reports/tuning/index.html" in said
