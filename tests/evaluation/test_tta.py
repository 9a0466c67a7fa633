"""Test-time augmentation against a weighted mean over copies that numpy makes."""

import numpy as np
import pytest
import torch
from evaluation_samples import linear_classifier
from numpy.typing import NDArray
from training_samples import CPU, digits, new_classifier

from src.compute.batches import Batches
from src.data.prepared import LabelledImages
from src.evaluation.tta import log_mean_probabilities, tta_metrics
from src.models.classifier import Classifier
from src.stats.intervals import wilson


def mean_by_hand(classifier: Classifier, data: LabelledImages, tta: str) -> NDArray[np.float64]:
    mean = np.zeros((len(data.images), 10))
    for start in (data.images, data.images[:, :, ::-1]):
        copies = [(start, 0.5)]
        if tta == "flip_diagonal":
            framed = np.pad(start, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
            copies = [(start, 0.25), (framed[:, :8, :8], 0.125), (framed[:, 2:, 2:], 0.125)]
        for copy, weight in copies:
            with torch.no_grad():
                outputs = classifier(torch.from_numpy(np.ascontiguousarray(copy)))
            mean += weight * outputs.double().softmax(dim=1).numpy()
    return mean


@pytest.mark.parametrize("tta", ["flip", "flip_diagonal"])
def test_probabilities_are_the_weighted_mean_over_the_copies(tta: str) -> None:
    data, classifier = digits(0, 50), new_classifier().eval()
    result = log_mean_probabilities(classifier, Batches(data, CPU.device), tta, CPU).double().exp()
    np.testing.assert_allclose(result.numpy(), mean_by_hand(classifier, data, tta), atol=1e-6)


def test_metrics_are_those_of_the_mean() -> None:
    data, classifier = digits(0, 200), linear_classifier()
    result = tta_metrics(classifier, Batches(data, CPU.device), "flip", CPU)
    expected = mean_by_hand(classifier, data, "flip")
    right = int((expected.argmax(axis=1) == data.labels).sum())
    assert list(result) == [f"tta_{name}{end}" for name in ("accuracy", "loss") for end in ("", "_ci_low", "_ci_high")]
    assert result["tta_accuracy"] == right / 200
    ends = [result["tta_accuracy_ci_low"], result["tta_accuracy_ci_high"]]
    assert ends == pytest.approx(np.array(wilson(right, 200)), abs=1e-6)
    assert result["tta_loss"] == pytest.approx(-np.log(expected[np.arange(200), data.labels]).mean(), abs=1e-5)
    assert result["tta_loss_ci_low"] < result["tta_loss"] < result["tta_loss_ci_high"]
