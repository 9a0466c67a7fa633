"""A tiny training on real digits, for the tests of the training loop."""

from typing import Any

import numpy as np
import torch
from augment_samples import NO_AUGMENT
from network_samples import untrained
from sklearn.datasets import load_digits
from torch import nn

from src import params
from src.compute.batches import Batches
from src.compute.device import Compute
from src.data.prepared import LabelledImages
from src.models.classifier import Classifier
from src.params.writing import load_recipe
from src.training.epoch import Epoch
from src.training.loop import train

CPU = Compute(torch.device("cpu"), None)
SGD = {"name": "sgd", "lr": 0.05, "weight_decay": 1e-4, "momentum": 0.9, "nesterov": True}
PLAIN_SGD = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False}


def section(**changes: Any) -> params.Train:
    """Return settings of a training of two epochs that any machine can do, with these changes."""
    small = {"device": "cpu", "precision": "float32", "threads": 1, "epochs": 2, "record_every": 0}
    small |= {"optimizer": {"name": "adam", "lr": 2e-3, "weight_decay": 1e-4}}
    small |= {"augment": NO_AUGMENT | {"crop": 0.125, "rotate": 10, "scale": 0.1}}
    return params.Train.model_validate(load_recipe("mnist").train.model_dump() | small | changes)


def digits(start: int, stop: int) -> LabelledImages:
    data = load_digits()
    images = np.rint(data.images[start:stop, ..., None] * 255 / 16).astype(np.uint8)
    return LabelledImages(images, data.target[start:stop].astype(np.int64))


def new_classifier(name: str = "cifar_basic", dropout: float = 0.2) -> Classifier:
    return untrained(name, 8, 1, dropout=dropout)


def run(classifier: Classifier, train_section: params.Train, seed: int = 0, images: int = 600) -> list[Epoch]:
    training, validation = Batches(digits(0, images), CPU.device), Batches(digits(1000, 1400), CPU.device)
    return list(train(classifier, training, validation, train_section, seed, CPU))


def weights(classifier: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in classifier.state_dict().values()])
