"""Small trainings of everything that can be trained, for the tests that follow each operator."""

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
from augment_samples import ALONE, settings
from network_samples import untrained

from src import params
from src.data.prepared import LabelledImages
from src.models.classifier import Classifier
from src.params import Loss, Optimizer, writing

RECIPES = [name for name in writing.names() if name != "own-images"]  # which trains as dogs-vs-cats-modern does

# The smallest of every module of `torchvision.models`; of swin the version that has more operators.
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5",
    "squeezenet1_0", "swin_v2_t", "vgg11", "vit_b_32",
)  # fmt: skip

_SHAPES = {"digits": (8, 1), "mnist": (28, 1), "fashion_mnist": (28, 1), "image_folder": (64, 3)}  # else 32×32×3
_EXAMPLES: dict[str, Any] = {
    "lr": 1e-3, "weight_decay": 1e-4, "momentum": 0.9, "nesterov": True, "iterations": 4,
    "label_smoothing": 0.1, "class_weights": "balanced", "newton_schulz": 3, "bias_lr": 1e-2, "head_lr": 1e-2,
    "sgd_momentum": 0.9, "whitening_share": 0.5,
}  # fmt: skip

IMAGES, BATCH_SIZE = 12, 8
STEPS = 2  # of an epoch; the last batch is smaller


def sections(kinds: Any) -> Iterator[Any]:
    """Return one config of every name that the section may have."""
    for kind in get_args(get_args(kinds)[0]):
        for name in get_args(kind.model_fields["name"].annotation):
            yield kind.model_validate({key: _EXAMPLES.get(key, name) for key in kind.model_fields})


OPTIMIZERS, LOSSES = list(sections(Optimizer)), list(sections(Loss))
EVERYTHING: dict[str, Any] = {  # that a step may do
    "accumulate": 2, "clip_gradient": 1.0, "ema": 0.9, "l1_penalty": 1e-4, "decay_biases": False,
    "augment": settings(**ALONE, mixup=0.2, cutmix=1.0),
}  # fmt: skip


def recipe(name: str, count: int = IMAGES, **changes: Any) -> tuple[Classifier, params.Train, LabelledImages]:
    """Return its untrained network for ten classes, its training in small batches, not compiled, and `count` images."""
    chosen = writing.load_recipe(name)
    height, channels = _SHAPES.get(chosen.data.name, (32, 3))
    small = {"batch_size": BATCH_SIZE, "drop_last": False, "epochs": 2, "compile": False, "record_every": 0}
    classifier = untrained(
        side=height, channels=channels, **chosen.model.model_dump() | {"weights": "none", "freeze": False}
    )
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, height, channels), dtype=np.uint8)
    return classifier, chosen.train.model_copy(update=small | changes), LabelledImages(pixels, np.arange(count) % 10)


def of_family(name: str, size: int = 224) -> Classifier:
    """Return an untrained network of torchvision."""
    return untrained(name, size, dropout=0.1, normalize="imagenet")
