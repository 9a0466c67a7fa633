"""The evaluate stage as a whole on digits: what it writes, with and without test and validation images."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas
import pytest
import torch
from data_samples import run_stages

from src import tracking
from src.compute import device
from src.core import paths
from src.evaluation import tables
from src.models.file import ModelSpec, save
from src.params import load
from src.params.writing import recipe
from stages import evaluate

RECIPE = recipe("digits")
TABLES = {
    paths.PREDICTIONS: "index,name,label,prediction,confidence,label_probability,label_rank",
    paths.CONFUSION: "label,prediction,count",
    paths.GROUPS: "group,images,correct,accuracy,ci_low,ci_high",
    paths.ROBUSTNESS: "kind,strength,direction,images,correct,accuracy,ci_low,ci_high",
    paths.CALIBRATION: "bin_low,bin_high,images,confidence,accuracy,"
    "images_calibrated,confidence_calibrated,accuracy_calibrated",
}

Evaluated = Callable[..., tuple[dict[str, float | int], dict[str, Any]]]


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Evaluated]:
    """Runs the stage on an untrained network and gives `metrics.json`, and what would be tracked."""
    monkeypatch.chdir(tmp_path)
    logged: dict[str, Any] = {"files": []}

    @contextmanager
    def attach(model_path: Path, stage: str, parameters: Mapping[str, object]) -> Iterator[SimpleNamespace]:
        logged["parameters"] = parameters
        yield SimpleNamespace(log_metrics=logged.update, log_artifact=lambda file, folder: logged["files"].append(file))

    monkeypatch.setattr(tracking, "attach", attach)

    def run(*changes: tuple[str, str], **split: Any) -> tuple[dict[str, float | int], dict[str, Any]]:
        text = RECIPE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        Path("params.yaml").write_text(text, encoding="utf-8")
        dataset = run_stages(None, "digits", **split)
        params = load()
        device.prepare(params.train, "cifar_basic")
        torch.manual_seed(0)
        spec = ModelSpec(
            model=params.model, classes=dataset.classes, image=dataset.image, mean=dataset.mean, std=dataset.std
        )
        save(paths.MODEL, spec.build(), spec)
        evaluate.main()
        return json.loads(paths.METRICS.read_text()), logged

    yield run
    torch.set_deterministic_debug_mode("default")


def test_everything_is_written_and_tracked(evaluated: Evaluated) -> None:
    metrics, logged = evaluated(("tta: none", "tta: flip_shift"), groups=r"\d(?=\d$)")
    assert {"accuracy", "tta_accuracy", "tta_loss_ci_low", "shift_3_accuracy", "fgsm_0.005_accuracy"} <= metrics.keys()
    assert logged["test_fgsm_0.005_accuracy"] == metrics["fgsm_0.005_accuracy"]
    assert logged["parameters"]["robustness"]["shifts"] == 3
    assert set(logged["files"]) == {paths.METRICS, paths.PER_CLASS, *TABLES}
    for file, header in TABLES.items():
        assert file.read_text(encoding="utf-8").splitlines()[0] == header
    groups, curves = tables.read(paths.GROUPS), tables.read(paths.ROBUSTNESS)
    assert groups["images"].sum() == metrics["images"] == metrics["robustness_images"]
    assert groups["correct"].sum() == round(metrics["accuracy"] * metrics["images"])
    assert (curves.loc[curves["strength"] == 0, "accuracy"] == metrics["accuracy"]).all()
    assert set(curves["direction"]) == {"left", "right", "up", "down", ""}


def test_without_test_images_the_numbers_say_so(evaluated: Evaluated) -> None:
    metrics, logged = evaluated(("tta: none", "tta: flip"), test=0.0)
    assert metrics == {"images": 0}
    assert logged["test_images"] == 0
    for file, header in TABLES.items():
        assert file.read_text(encoding="utf-8") == f"{header}\n"


def test_without_validation_images_there_is_no_temperature(evaluated: Evaluated) -> None:
    metrics, _ = evaluated(validation=0.0)
    assert "ece" in metrics
    assert not any("temperature" in name or "calibrated" in name for name in metrics)
    assert pandas.read_csv(paths.CALIBRATION)["images_calibrated"].isna().all()


def test_it_repeats_to_the_byte(evaluated: Evaluated) -> None:
    def written() -> dict[Path, bytes]:
        evaluated(("tta: none", "tta: flip_shift"))
        return {path: path.read_bytes() for path in (paths.METRICS, *TABLES)}

    assert written() == written()
