"""Results of pipelines that never ran, for the pictures and the page: easy, hard and odd ones."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas
import torch
from network_samples import image_format, model_section

from src import params
from src.data.prepared import Dataset, Duplicates, DuplicateSets, Example, ImageFormat, LabelledImages, SplitRecord
from src.evaluation.classes import accuracy_columns, confusion, per_class
from src.evaluation.predictions import predictions
from src.evaluation.reliability import reliability
from src.figures.pipeline_results import PipelineResults
from src.models.build import build
from src.models.inspection import inspect_network

LONG = [
    f"{name}{number}"
    for number in range(10)
    for name in (
        "aquarium_fish", "sweet_pepper", 'a very long name, with a comma and "quotes"' * 2, "$5 and $6", "two\nlines",
        "жёлтый цветок ", "犬と猫", "W" * 30, "NA", "<script>alert('&')</script>",
    )
]  # fmt: skip


def history(epochs: int, validated: bool = True) -> pandas.DataFrame:
    epoch = np.arange(1, epochs + 1)
    falling = np.exp(-epoch / 5)
    missing = np.full(epochs, np.nan)
    return pandas.DataFrame(
        {
            "epoch": epoch,
            "train_loss": 2.2 * falling,
            "train_accuracy": 1 - 0.9 * falling,
            "validation_loss": 2.1 * falling + 0.004 * epoch if validated else missing,
            "validation_accuracy": 0.97 - 0.85 * falling if validated else missing,
            "lr": 2e-3 * np.cos(np.pi * epoch / epochs / 2) + 1e-5,
        }
    )


def steps(epochs: int, validated: bool = True) -> pandas.DataFrame:
    step = np.arange(100, 500 * epochs + 1, 100)
    error = np.exp(-step / 900)
    noise = np.random.default_rng(0).normal(1, 0.1, len(step))
    return pandas.DataFrame(
        {
            "step": step,
            "epoch": 1 + (step - 1) // 500,
            "train_error": error * noise.clip(0.5),
            "validation_error": 0.02 + 0.9 * error if validated else np.full(len(step), np.nan),
        }
    )


def robustness(images: int) -> pandas.DataFrame:
    rows: list[tuple[str, float, str]] = []
    rows += [("shift", pixels, side) for side in ("left", "right", "up", "down") for pixels in range(6)]
    rows += [("gaussian", sigma, "") for sigma in (0, 0.05, 0.1, 0.2, 0.4)]
    rows += [("salt_pepper", share, "") for share in (0, 0.01, 0.05, 0.1, 0.2)]
    rows += [("fgsm", epsilon, "") for epsilon in (0, 0.005, 0.01, 0.03, 0.1)]
    table = pandas.DataFrame(rows, columns=["kind", "strength", "direction"])
    fall = table["strength"] / table.groupby("kind")["strength"].transform("max")
    sides = table["direction"].map({"left": 0.4, "right": 0.5, "up": 0.7, "down": 0.9}).fillna(0.8)
    correct = (images * 0.97 * (1 - sides * fall**1.5)).to_numpy(int)
    return table.assign(**accuracy_columns(correct, images))


def make(
    network: str,
    classes: list[str],
    shape: tuple[int, int, int],
    count: int,
    *,
    test: int | None = None,
    strength: float = 4.0,
    epochs: int = 20,
    validated: bool = True,
    shown: int = 40,
    recorded: bool = True,
) -> PipelineResults:
    """Make the results of a pipeline on `count` random images (H, W, C), a third of them test.

    Its model is right more often with higher `strength`; without `recorded`, tables that may be empty are.
    """
    rows = slice(None if recorded else 0)
    draw = np.random.default_rng(count)
    images = draw.integers(256, size=(count, *shape), dtype=np.uint8)
    labels = np.arange(count) % len(classes)
    test = count // 3 if test is None else test
    logits = draw.normal(size=(test, len(classes)))
    logits[np.arange(test), labels[:test]] += strength
    table = predictions(logits, labels[:test], [f"test/{number:05}.png" for number in range(test)], classes)

    parts = {"train": labels[test:], "validation": labels[: 9 * validated], "test": labels[:test]}
    torch.manual_seed(0)
    classifier = build(model_section(network, dropout=0.1), image_format(*shape), len(classes), [0.5], [0.5])
    inspection = inspect_network(classifier, images[0], 2, 1)
    moments = np.arange(min(epochs, 25) + 1)
    growing = (moments / moments[-1])[:, None, None, None, None]
    snapshots = {
        name: (growing * kernels + draw.normal(scale=0.02, size=kernels.shape)).astype(np.float32)
        for name, kernels in zip(("first", "second"), inspection.kernels, strict=False)
    }
    return PipelineResults(
        options=params.Visualize(samples=shown, mistakes=min(20, shown), image=0, layer=1, shift=2),
        dataset=dataset(classes, image_format(*shape), parts),
        train=LabelledImages(images[test:], labels[test:]),
        test=LabelledImages(images[:test], labels[:test]),
        inspection=inspection,
        training={
            "epochs": epochs, "best_epoch": epochs, "parameters": inspection.parameters,
            "size_mib": round(inspection.size / 2**20, 2), "validation_accuracy": 0.96 if validated else None,
            "validation_loss": 0.1 if validated else None,
        },
        metrics=metrics(table),
        environment={"device": "cpu", "precision": "float32", "threads": 1, "torch": "2.15.0"},
        history=history(epochs, validated),
        predictions=table,
        per_class=per_class(table, classes),
        confusion=confusion(table, classes),
        steps=steps(epochs, validated)[rows],
        calibration=reliability(logits, labels[:test], 1.5 if validated else None)[rows],
        robustness=robustness(test)[rows if test else slice(0)],
        snapshots={"epochs": moments, **snapshots},
        augmented=np.concatenate([images[:1], images.repeat(2, axis=0)[:23]]),
    )  # fmt: skip


NONE = DuplicateSets(images=0, sets=0, conflicting=0, beside_train={}, examples=[])


def dataset(classes: list[str], image: ImageFormat, labels: dict[Any, Any]) -> Dataset:
    def record(numbers: Any) -> SplitRecord:
        counts = np.bincount(numbers, minlength=len(classes)).tolist()
        return SplitRecord(count=len(numbers), per_class=dict(zip(classes, counts, strict=True)), md5={})

    members = [Example(split=split, index=0, name=f"{'<b>long' * 9}.png") for split in ("train", "validation", "test")]
    pair = DuplicateSets(images=3, sets=1, conflicting=1, beside_train={"validation": 0, "test": 1}, examples=[members])
    return Dataset(
        name="image_folder",
        classes=classes,
        image=image,
        mean=[0.5] * image.channels,
        std=[0.25] * image.channels,
        splits={split: record(numbers) for split, numbers in labels.items()},
        duplicates=Duplicates(equal=NONE, near=pair if len(labels["test"]) else None),
        unreadable=["<b>broken.jpg"],
    )


def metrics(table: pandas.DataFrame) -> dict[str, Any]:
    if not len(table):
        return {"images": 0}
    accuracy = float((table["label"] == table["prediction"]).mean())
    ends = {"accuracy_ci_low": accuracy - 0.02, "accuracy_ci_high": accuracy + 0.01}
    return {
        "images": len(table), "accuracy": accuracy, **ends, "macro_f1": accuracy, "macro_f1_ci_low": accuracy,
        "macro_f1_ci_high": accuracy, "loss": 0.1, "loss_ci_low": 0.05, "loss_ci_high": 0.2,
        "tta_accuracy": accuracy, "ece_calibrated": 0.0375, "robustness_images": 1234.0,
    }  # fmt: skip


_RESULTS: dict[str, Callable[[], PipelineResults]] = {
    "digits": lambda: make("cifar_basic", [*"0123456789"], (8, 8, 1), 300),
    "hundred": lambda: make("densenet121", LONG, (32, 32, 3), 600, epochs=200, shown=100),
    "one each": lambda: make("cifar_vgg", ["x" * 60, "y" * 60], (32, 20, 3), 12, shown=1, strength=0.0, recorded=False),
    "perfect": lambda: make(
        "mnist_convnet", ["cat", "dog", "emu"], (16, 16, 1), 90, strength=99.0, epochs=3, validated=False
    ),
    "hopeless": lambda: make("fashion_net", [f"class {label}" for label in range(12)], (16, 16, 1), 90, strength=-99.0),
    "no test": lambda: make("vit_b_16", ["cat", "dog"], (32, 32, 1), 30, test=0),
    "large counts": lambda: make("resnet18", ["cat", "dog"], (1, 1, 1), 60_000, test=40_000),
}
KINDS = list(_RESULTS)


@cache
def made(kind: str) -> PipelineResults:
    """Return the results of this kind, which no test may change."""
    return _RESULTS[kind]()
