"""Corruptions against plain numpy and known gradients; the curves against a loop over single images."""

from typing import Any

import numpy as np
import pandas
import pytest
import torch
import torch.nn.functional as F
from evaluation_samples import corrupted, linear_classifier
from scipy import ndimage
from torch import Tensor, nn
from training_samples import CPU, digits, new_classifier

from src.compute.batches import Batches
from src.core.errors import UserError
from src.data.prepared import LabelledImages
from src.evaluation import corruptions
from src.evaluation.robustness import headline, robustness
from src.models.classifier import Classifier, Normalize
from src.stats.intervals import wilson

EVERYTHING: dict[str, Any] = {"shifts": 2, "noise": [0.1, 0.4], "salt_pepper": [0.1, 0.3], "fgsm": [0.005, 0.1]}


def curves(data: LabelledImages, classifier: Classifier, **options: Any) -> pandas.DataFrame:
    batch_size = options.pop("batch_size", 128)
    return robustness(classifier, Batches(data, CPU.device), corrupted(**options), batch_size)


def test_a_shift_that_leaves_nothing_is_a_fault() -> None:
    with pytest.raises(UserError, match="5×7 pixels cannot be shifted by 5"):
        corruptions.shift(torch.zeros(1, 5, 7, 1, dtype=torch.uint8), "left", 5)


def test_who_is_sure_of_everything_can_be_attacked_too() -> None:
    """The cross entropy's own gradient is 0 here."""
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[1000.0, 1000, -1000, 0], [0, 0, 0, 0]])
    sure = Classifier(nn.Sequential(nn.Flatten(), layer), Normalize([0.0], [1.0]))
    images = torch.tensor([[[[200], [200]], [[0], [0]]]], dtype=torch.uint8)
    signs = corruptions.gradient_signs(sure, images, torch.tensor([0]))
    assert signs.flatten().tolist() == [-1, -1, 1, 0]
    assert corruptions.add(images, signs, 0.1).flatten().tolist() == [174.5, 174.5, 25.5, 0]
    assert corruptions.add(images, signs, 1.0).flatten().tolist() == [0, 0, 255, 0]


def by_hand(classifier: Classifier, data: LabelledImages, kind: str, direction: str, strength: float) -> int:
    """Right answers, one image after the other."""
    right = 0
    for number, (pixels, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        image = torch.from_numpy(pixels[None])
        if kind == "shift":
            down, right_ = (int(strength) * step for step in corruptions.DIRECTIONS[direction])
            changed: Tensor = torch.from_numpy(ndimage.shift(pixels, (down, right_, 0), order=0)[None])
        elif kind == "gaussian":
            noise = np.random.default_rng([0, 1, number]).standard_normal(pixels.shape, np.float32)
            changed = torch.from_numpy(np.clip(pixels + 255 * strength * noise, 0, 255).astype(np.float32)[None])
        elif kind == "salt_pepper":
            draw = np.random.default_rng([0, 2, number]).random((8, 8, 1), np.float32)
            flat = np.where(draw < strength / 2, 0, np.where(draw >= 1 - strength / 2, 255, pixels))
            changed = torch.from_numpy(flat.astype(np.uint8)[None])
        else:
            with_gradient = image.float().requires_grad_()
            loss = F.cross_entropy(classifier(with_gradient), torch.tensor([label]))
            (gradient,) = torch.autograd.grad(loss, with_gradient)
            changed = (image + 255 * strength * gradient.sign()).clamp(0, 255)
        right += int(classifier(changed).argmax()) == label
    return right


def test_every_row_is_what_a_loop_over_images_counts() -> None:
    data, classifier = digits(0, 60), linear_classifier()
    table = curves(data, classifier, **EVERYTHING)
    for row in table.to_dict("records"):
        expected = by_hand(classifier, data, row["kind"], row["direction"], row["strength"])
        assert (row["images"], row["correct"], row["accuracy"]) == (60, expected, expected / 60), row
        assert (row["ci_low"], row["ci_high"]) == tuple(map(float, wilson(expected, 60)))


def test_headline_numbers() -> None:
    table = curves(digits(0, 60), linear_classifier(), **EVERYTHING)
    result = headline(table)
    assert list(result) == [
        "robustness_images", "shift_1_accuracy", "shift_2_accuracy", "gaussian_0.1_accuracy", "gaussian_0.4_accuracy",
        "salt_pepper_0.1_accuracy", "salt_pepper_0.3_accuracy", "fgsm_0.005_accuracy", "fgsm_0.1_accuracy",
    ]  # fmt: skip
    right = table[(table["kind"] == "shift") & (table["strength"] == 2)]["correct"].sum()
    assert result["shift_2_accuracy"] == round(right / 240, 6)
    assert result["fgsm_0.005_accuracy"] == round(float(table["accuracy"].iloc[-2]), 6)
    assert result["robustness_images"] == 60


@pytest.mark.parametrize("classifier", [linear_classifier(), new_classifier().eval()], ids=["linear", "network"])
def test_curves_repeat_and_do_not_depend_on_the_batch_size(classifier: Classifier) -> None:
    data = digits(0, 60)
    first = curves(data, classifier, **EVERYTHING)
    for batch_size in (128, 17, 1):
        pandas.testing.assert_frame_equal(curves(data, classifier, batch_size=batch_size, **EVERYTHING), first)


def test_fewer_images_are_some_of_them_and_always_the_same() -> None:
    data = digits(0, 100)
    for wanted in (10, 20, 100, 500):
        drawn = np.random.default_rng(0).permutation(100)[:wanted]
        some = LabelledImages(data.images[drawn], data.labels[drawn])
        found = curves(data, linear_classifier(), images=wanted, shifts=3)
        pandas.testing.assert_frame_equal(found, curves(some, linear_classifier(), shifts=3))
