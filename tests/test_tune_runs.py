"""A search's runs in a real MLflow store."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from tune_samples import plan

from src.search.results import Result
from src.search.runs import Runs
from src.tracking.runs import find_runs
from src.tracking.store import open_store


def test_commands_that_share_a_study_share_its_parent_and_add_their_own_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "photos")
    (tmp_path / "dataset.json").write_text("{}")
    monkeypatch.setattr("src.search.runs.DATASET", tmp_path / "dataset.json")
    store, search = open_store(), plan(3)
    one, other = Runs(search, store, "one"), Runs(search, store, "other")
    now = datetime(2020, 1, 1)
    curves = {"validation_accuracy": [0.5] * 1200}  # more than MLflow takes at once
    first = Result(0, "complete", 0.9, {}, 1, curves, 1, None, "", False, ["complete"], now, now, "one", "")
    both = [first, replace(first, number=1, session="other")]
    for runs in one, other:
        runs.add(search, both)
    assert len(find_runs(store, "tags.`tune.part` = 'study'")) == 1
    query = "tags.`tune.part` = 'trial'"
    found = find_runs(store, query)
    assert sorted(run.data.tags["tune.point"] for run in found) == ["0", "1"]
    assert len(store.client.get_metric_history(found[0].info.run_id, "validation_accuracy")) == 1200
    lost = replace(first, number=2, session="killed before it could say so")
    Runs(search, store, "next").make_up(search, [*both, lost])
    assert sorted(run.data.tags["tune.point"] for run in find_runs(store, query)) == ["0", "1", "2"]
    one.end("FINISHED", {"best": 0.9}, "Point 0 is best.")
    (parent,) = find_runs(store, "tags.`tune.part` = 'study'")
    assert (parent.info.status, parent.data.metrics, parent.data.tags["mlflow.note.content"]) == (
        "FINISHED", {"best": 0.9}, "Point 0 is best.",
    )  # fmt: skip
