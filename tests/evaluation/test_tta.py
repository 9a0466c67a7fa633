"""Test-time augmentation against a mean over copies that numpy makes."""

import numpy as np
import pytest
import torch
from evaluation_samples import linear_classifier, section
from numpy.typing import NDArray
from training_samples import CPU, digits, new_classifier

from src.compute.batches import Batches
from src.data.prepared import LabelledImages
from src.evaluation.tta import copies, log_mean_probabilities, tta_metrics
from src.models.classifier import Classifier
from src.stats.intervals import wilson


def copies_by_hand(images: NDArray[np.uint8], shifts: int) -> list[NDArray[np.uint8]]:
    """A border of zeros around the images, and windows of their size."""
    height, width = images.shape[1:3]
    made = []
    for start in (images, images[:, :, ::-1]):
        wide = np.pad(start, ((0, 0), (shifts, shifts), (shifts, shifts), (0, 0)))
        moves = [(step, 0) for step in range(-shifts, shifts + 1)] + [
            (0, step) for step in range(-shifts, shifts + 1) if step
        ]
        made += [wide[:, shifts + y : shifts + y + height, shifts + x : shifts + x + width] for y, x in moves]
    return made


def mean_by_hand(classifier: Classifier, data: LabelledImages, shifts: int) -> NDArray[np.float64]:
    with torch.no_grad():
        outputs = [
            classifier(torch.from_numpy(np.ascontiguousarray(copy))) for copy in copies_by_hand(data.images, shifts)
        ]
    mean: NDArray[np.float64] = np.mean([output.double().softmax(dim=1).numpy() for output in outputs], axis=0)
    return mean


@pytest.mark.parametrize(("kind", "shifts", "count"), [("flip", 0, 2), ("flip_shift", 1, 10), ("flip_shift", 3, 26)])
def test_probabilities_are_the_mean_over_the_copies(kind: str, shifts: int, count: int) -> None:
    data, classifier = digits(0, 50), new_classifier().eval()
    wanted = section(kind, max(shifts, 1))
    assert len(list(copies(torch.from_numpy(data.images), wanted))) == count
    expected = mean_by_hand(classifier, data, shifts)
    result = log_mean_probabilities(classifier, Batches(data, CPU.device), wanted, CPU).double().exp().numpy()
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_diagonal_copies_mirror_the_edge_and_weigh_half_of_the_unmoved() -> None:
    data, classifier = digits(0, 50), new_classifier().eval()
    expected = np.zeros((50, 10))
    with torch.no_grad():
        for start in (data.images, data.images[:, :, ::-1]):
            framed = np.pad(start, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
            for copy, weight in ((start, 0.25), (framed[:, :8, :8], 0.125), (framed[:, 2:, 2:], 0.125)):
                outputs = classifier(torch.from_numpy(np.ascontiguousarray(copy)))
                expected += weight * outputs.double().softmax(dim=1).numpy()
    result = log_mean_probabilities(classifier, Batches(data, CPU.device), section("flip_diagonal"), CPU).double().exp()
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


def test_metrics_are_those_of_the_mean() -> None:
    data, classifier = digits(0, 200), linear_classifier()
    result = tta_metrics(classifier, Batches(data, CPU.device), section("flip_shift", 1), CPU)
    expected = mean_by_hand(classifier, data, 1)
    right = int((expected.argmax(axis=1) == data.labels).sum())
    assert list(result) == [f"tta_{name}{end}" for name in ("accuracy", "loss") for end in ("", "_ci_low", "_ci_high")]
    assert result["tta_accuracy"] == right / 200
    ends = [result["tta_accuracy_ci_low"], result["tta_accuracy_ci_high"]]
    assert ends == pytest.approx(np.array(wilson(right, 200)), abs=1e-6)
    assert result["tta_loss"] == pytest.approx(-np.log(expected[np.arange(200), data.labels]).mean(), abs=1e-5)
    assert result["tta_loss_ci_low"] < result["tta_loss"] < result["tta_loss_ci_high"]


@pytest.mark.parametrize(("kind", "count"), [("none", 20), ("flip_shift", 0)])
def test_switched_off_or_without_images_it_says_nothing(kind: str, count: int) -> None:
    assert tta_metrics(new_classifier().eval(), Batches(digits(0, count), CPU.device), section(kind), CPU) == {}
