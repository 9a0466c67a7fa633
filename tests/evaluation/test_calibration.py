"""Temperature scaling against scipy and a known temperature; reliability tables against plain loops."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from src.evaluation.calibration import calibrate, fit_temperature
from src.evaluation.metrics import measure
from src.evaluation.reliability import calibrated_metrics, reliability

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


def sample(images: int, temperature: float) -> tuple[Logits, Labels]:
    """Logits of a network whose true probabilities are softmax(logits / temperature)."""
    draw = np.random.default_rng(1)
    true = draw.normal(scale=2, size=(images, 10))
    labels = (true + draw.gumbel(size=true.shape)).argmax(axis=1)  # a draw from softmax(true)
    return (temperature * true).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.05, 0.4, 1.0, 2.5, 30.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    assert fit_temperature(*sample(20_000, temperature)) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("case", ["none", "all right", "all wrong", "against"])
def test_where_no_temperature_is_best_there_is_none(case: str) -> None:
    logits, labels = sample(100, 1.0)
    cases = {
        "none": (logits[:0, :0], labels[:0]),
        "all right": (logits, logits.argmax(axis=1)),
        "all wrong": (logits, logits.argmin(axis=1)),
        "against": (-5 * logits, labels),
    }
    temperature = fit_temperature(*cases[case])
    assert temperature is None
    assert calibrated_metrics(logits, labels, temperature) == {}
    if found := calibrate(*cases[case]):  # by the logits as they are
        own = np.sort(softmax(cases[case][0], axis=1)[np.arange(100), cases[case][1]])
        assert found.least["0.95"] == pytest.approx(own[4], abs=1e-6), "five of 100 may be lost"


def test_scaled_metrics_are_those_of_scaled_logits_and_better() -> None:
    logits, labels = sample(2_000, 3.0)
    plain, scaled = measure(logits, labels), measure(logits / 3, labels)
    result = calibrated_metrics(logits, labels, 3.0)
    names = [f"{name}_calibrated{end}" for name in ("loss", "brier", "ece") for end in ("", "_ci_low", "_ci_high")]
    assert list(result) == ["temperature", *names]
    for name in ("loss", "brier", "ece"):
        for end in ("", "_ci_low", "_ci_high"):
            assert result[f"{name}_calibrated{end}"] == scaled[f"{name}{end}"]
        assert result[f"{name}_calibrated"] < plain[name]


def test_bins_are_those_of_a_loop_and_add_up_to_the_ece() -> None:
    logits, labels = sample(500, 3.0)
    table = reliability(logits, labels, 3.0)
    for suffix, divisor in (("", 1), ("_calibrated", 3)):
        shares = softmax(logits.astype(np.float64) / divisor, axis=1)
        confidence, right = shares.max(axis=1), shares.argmax(axis=1) == labels
        for number, row in enumerate(table.to_dict("records")):
            inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
            assert (row["bin_low"], row["bin_high"]) == pytest.approx((number / 15, (number + 1) / 15))
            assert row[f"images{suffix}"] == inside.sum()
            if inside.any():
                assert row[f"confidence{suffix}"] == pytest.approx(confidence[inside].mean())
                assert row[f"accuracy{suffix}"] == pytest.approx(right[inside].mean())
            else:
                assert np.isnan(row[f"confidence{suffix}"])
                assert np.isnan(row[f"accuracy{suffix}"])
        gaps = (table[f"accuracy{suffix}"] - table[f"confidence{suffix}"]).abs()
        ece = (table[f"images{suffix}"] * gaps).sum() / 500
        assert ece == pytest.approx(measure(logits / divisor, labels)["ece"], abs=1e-6)


def test_the_true_class_remains_possible_as_often_as_was_wanted() -> None:
    """On images that were not calibrated with, of a network that is far too sure."""
    logits, labels = sample(40_000, 3.0)
    calibration = calibrate(logits[:20_000], labels[:20_000])
    assert calibration is not None
    probabilities = softmax(logits[20_000:] / (calibration.temperature or 1.0), axis=1)
    own = np.take_along_axis(probabilities, labels[20_000:, None], axis=1)[:, 0]
    for coverage, least in calibration.least.items():
        assert (own >= least).mean() == pytest.approx(float(coverage), abs=0.01)


def test_too_few_images_leave_every_class_possible() -> None:
    found = calibrate(*sample(18, 1.0))
    assert found is not None
    assert found.least["0.95"] == found.least["0.99"] == 0
    assert found.least["0.9"] > 0
    logits, labels = sample(19, 1.0)  # of which one, and no more, may be lost
    found = calibrate(logits, labels)
    assert found is not None
    own = softmax(logits / (found.temperature or 1.0), axis=1)[np.arange(19), labels]
    assert own.min() - 1e-6 <= found.least["0.95"] <= own.min()
    assert calibrate(*sample(0, 1.0)) is None
