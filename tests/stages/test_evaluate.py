"""The evaluate stage as a whole on digits: what it writes, with and without test and validation images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from data_samples import run_stages

from src.compute import device
from src.core import paths
from src.data.prepared import open_split, read_identity
from src.evaluation import metric_files, tables
from src.evaluation.metrics import measure
from src.models.model_file import ModelSpec, save
from src.params import load
from src.params.writing import changed, recipe
from src.stats.intervals import wilson
from stages import evaluate

TABLES = {
    paths.PREDICTIONS: "index,name,label,prediction,confidence,label_probability,digest",
    paths.CONFUSION: "label,prediction,count",
    paths.GROUPS: "group,images,correct,accuracy,ci_low,ci_high",
    paths.ROBUSTNESS: "kind,strength,direction,images,correct,accuracy,ci_low,ci_high",
    paths.CALIBRATION: "bin_low,bin_high,images,confidence,accuracy,"
    "images_calibrated,confidence_calibrated,accuracy_calibrated",
}

Evaluated = Callable[..., dict[str, float | int]]


@pytest.fixture
def evaluated(root: Path) -> Evaluated:
    """Run the stage on an untrained network, and give `metrics.json`."""

    def run(tta: str = "none", **split: Any) -> dict[str, float | int]:
        Path("params.yaml").write_text(changed(recipe("digits"), {"evaluate.tta": tta}), encoding="utf-8")
        dataset = run_stages(None, "digits", **split)
        params = load()
        device.prepare(params.train, "cifar_basic")
        spec = ModelSpec.of(params.model, dataset)
        save(paths.MODEL, spec.build(0), spec)
        evaluate.main()
        metrics: dict[str, float | int] = json.loads(paths.METRICS.read_text())
        return metrics

    return run


def test_everything_is_written(evaluated: Evaluated) -> None:
    metrics = evaluated("flip", groups=r"\d\d(?=\d$)")
    assert {"accuracy", "tta_accuracy"} <= metrics.keys()
    assert len(metrics) < 20, "what dvc metrics diff lists is short"
    numbers = metric_files.read()
    assert metrics.items() <= numbers.items()
    assert {"tta_loss_ci_low", "shift_3_accuracy", "fgsm_0.005_accuracy"} <= numbers.keys()
    assert numbers["accuracy_ci_low"] < numbers["accuracy"] < numbers["accuracy_ci_high"]
    for file, header in TABLES.items():
        assert file.read_text(encoding="utf-8").splitlines()[0] == header + ",group" * (file == paths.PREDICTIONS)
    # Groups alone count as independent, in every interval but those of the groups themselves.
    own = read_identity("test")["group"]
    expected = measure(np.load(paths.LOGITS)["logits"], open_split("test").labels, own)
    assert expected.items() <= numbers.items()
    assert expected["groups"] == len({*own}) < metrics["images"]
    alone = wilson(round(numbers["tta_accuracy"] * len(own)), len(own))
    assert numbers["tta_accuracy_ci_high"] > alone[1] + 0.001
    by_class = tables.read(paths.PER_CLASS)
    assert (by_class["ci_high"] > wilson(by_class["correct"], by_class["images"])[1] + 0.001).any()
    groups, curves = tables.read(paths.GROUPS), tables.read(paths.ROBUSTNESS)
    assert (curves["ci_high"] > wilson(curves["correct"], curves["images"])[1] + 0.001).any()
    assert groups["images"].sum() == metrics["images"] == numbers["robustness_images"]
    assert groups["correct"].sum() == round(metrics["accuracy"] * metrics["images"])
    assert (curves.loc[curves["strength"] == 0, "accuracy"] == metrics["accuracy"]).all()
    assert set(curves["direction"]) == {"left", "right", "up", "down", ""}


def test_without_test_images_the_numbers_say_so(evaluated: Evaluated) -> None:
    assert evaluated("flip", test=0.0) == metric_files.read() == {"images": 0}
    for file, header in TABLES.items():
        assert file.read_text(encoding="utf-8") == f"{header}\n"


def test_without_validation_images_there_is_no_temperature(evaluated: Evaluated) -> None:
    metrics = evaluated(validation=0.0)
    assert "ece" in metrics
    assert not any("temperature" in name or "calibrated" in name for name in metrics)
    assert pandas.read_csv(paths.CALIBRATION)["images_calibrated"].isna().all()
