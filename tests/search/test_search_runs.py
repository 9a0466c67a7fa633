"""A search's runs in a real MLflow store."""

from pathlib import Path

import pytest
from mlflow.entities import Run
from tracking_samples import make_tree
from tune_samples import plan, searched

from src.search.runs import Runs
from src.tracking.store import open_store


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, empty_store: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "photos")
    make_tree(tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")


def stored(part: str) -> list[Run]:
    store = open_store()
    found = store.client.search_runs([store.experiment_id], f"tags.`tune.part` = '{part}'")
    return sorted(found, key=lambda run: run.info.start_time)


def test_a_study_has_one_parent_and_a_child_for_every_trial(tmp_path: Path) -> None:
    search = plan(4)
    trials = searched(search)
    first = Runs(search)
    first.add(search, trials[:2])
    first.end("KILLED", "", None)
    second = Runs(search)
    second.add(search, trials[:3])
    second.add(search, trials[3:])
    second.end("FINISHED", "Trial 0 is best.", None)
    (parent,) = stored("study")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"] == "Trial 0 is best."
    assert parent.data.params["tune.space.model.dropout"] == "{low: 0.0, high: 0.5}"
    assert parent.inputs is not None
    assert [found.dataset.name for found in parent.inputs.dataset_inputs] == ["mnist"]
    runs = stored("trial")
    assert sorted(run.data.tags["tune.trial"] for run in runs) == ["0", "1", "2", "3"]
    assert not any("model_md5" in run.data.tags for run in runs), "the pipeline would take it for a training"
    for run in runs:
        trial = trials[int(run.data.tags["tune.trial"])]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert float(run.data.params["train.optimizer.lr"]) == trial.params["train.optimizer.lr"]
        assert run.data.metrics["validation_accuracy"] == trial.value
        curve = open_store().client.get_metric_history(run.info.run_id, "epoch/validation_accuracy")
        assert [(point.step, point.value) for point in curve] == list(trial.intermediate_values.items())
