"""Small classifiers and digits that the tests of the evaluation share."""

from typing import Any

import numpy as np
import torch
from torch import nn
from training_samples import digits

from src import params
from src.models.classifier import Classifier, Normalize
from src.params.writing import load_recipe


def linear_classifier() -> Classifier:
    """Return a classifier of digits that is often right: W·x + b, where W (10, 64) is each class's mean, with noise."""
    images, labels = digits(0, 1000)
    layer = nn.Linear(64, 10)
    means = np.stack([images[labels == label].reshape(-1, 64).mean(axis=0) / 255 for label in range(10)])
    weights = means + np.random.default_rng(0).normal(scale=0.01, size=means.shape)
    layer.weight.data = torch.from_numpy(weights).float()
    layer.bias.data = -layer.weight.data.square().sum(dim=1) / 2
    return Classifier(nn.Sequential(nn.Flatten(), layer), Normalize([0.0], [1.0])).eval()


def corrupted(**robustness: Any) -> params.Robustness:
    """Return the config `evaluate.robustness`, with only the given corruptions."""
    usual = load_recipe("digits").evaluate.robustness.model_dump(exclude={"images"})
    off: dict[str, Any] = {"images": None, **{key: type(value)() for key, value in usual.items()}}  # [], or 0 shifts
    return params.Robustness.model_validate(off | robustness)
