"""Temperature scaling against scipy and a known temperature; reliability tables against plain loops."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

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


@pytest.mark.parametrize("images", [1, 20, 2_000])
def test_it_is_the_most_probable_of_those_around_one(images: int) -> None:
    logits, labels = sample(images, 3.0)

    def unlikely(log: float) -> float:
        own = log_softmax(logits / np.exp(log), axis=1)[np.arange(images), labels]
        return float(-own.sum() + (log / 0.5) ** 2 / 2)

    best = minimize_scalar(unlikely, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(best.x), rel=1e-5)


def test_few_images_do_not_decide_alone() -> None:
    """Where all of ten are right, the least loss of these would be that of T = 0, and of others infinite."""
    logits, _ = sample(10, 1.0)
    right, wrong = (fit_temperature(logits, labels) for labels in (logits.argmax(axis=1), logits.argmin(axis=1)))
    assert 0.3 < right < 1 < wrong < 10
    assert calibrate(logits[:0, :0], np.zeros(0, np.int64)) is None
    assert calibrated_metrics(logits, logits.argmax(axis=1), None) == {}

    logits, labels = sample(6_000, 1.0)
    fitted = [fit_temperature(logits[at : at + 20], labels[at : at + 20]) for at in range(0, 4_000, 20)]

    def loss(temperature: float) -> float:
        return float(-log_softmax(logits[4_000:] / temperature, axis=1)[np.arange(2_000), labels[4_000:]].mean())

    assert np.mean([loss(each) for each in fitted]) < loss(1) + 0.02, "0.027 without what is known before"


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
