"""A frozen network learns from features, which are computed once and kept, as it would from the images."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from augment_samples import NO_AUGMENT
from data_samples import class_folders, run_stages, write_files
from network_samples import model_section, untrained
from numpy.typing import NDArray
from training_samples import section

from src import params
from src.compute.forward import logits
from src.search.objectives import measure
from src.training import features
from src.training.epoch import Epoch
from src.training.loop import train
from src.training.trainer import Trainer

SETTINGS = section(augment=NO_AUGMENT, batch_size=10, epochs=3)


@pytest.fixture
def trainer(root: Path) -> Trainer:
    """Return the trainer of some random pictures; files of weights for two networks lie beside."""
    write_files(root / "data/images", class_folders({"ant": 40, "bee": 40}))
    run_stages(None, image_size=32, validation=0.25, test=0.0, near_duplicates="ignore")
    for name in ("resnet18", "squeezenet1_1"):
        torch.save(untrained(name, classes=9).network.state_dict(), f"{name}.pth")
    return Trainer(frozen(), SETTINGS, "train", "validation")


def frozen(name: str = "resnet18", **changes: Any) -> params.Model:
    return model_section(name, **{"weights": f"{name}.pth", "freeze": True, "dropout": 0.2} | changes)


def curves(epochs: Iterable[Epoch]) -> NDArray[np.float64]:
    return np.array([[epoch.train_loss, epoch.validation_loss, epoch.validation_accuracy] for epoch in epochs])


def test_learning_from_features_is_learning_from_the_images(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with dropout before the last layer, which draws the same; no image goes through the network again."""
    quick = trainer.start(frozen(), SETTINGS, 0)
    slow, training, validation = quick.spec.build(0), trainer.images["train"], trainer.images["validation"]
    epochs = train(slow, training, validation, SETTINGS, 0, trainer.compute)
    np.testing.assert_allclose(curves(quick.epochs), curves(epochs), rtol=1e-4)
    for name, weight in slow.state_dict().items():
        torch.testing.assert_close(quick.classifier.state_dict()[name], weight)
    assert quick.classifier.state_dict()["network.fc.1.weight"].abs().max() > 0.01, "it has learned"
    outputs = logits(quick.classifier, validation)
    torch.testing.assert_close(logits(quick.learned, quick.validation), outputs)
    monkeypatch.setattr(quick.classifier.network, "forward", lambda images: pytest.fail("an image is seen again"))
    assert measure(trainer, quick).keys() == {"model_md5"}


def kept() -> dict[str, int]:
    """Return the files of features and their inodes, which change when a file is written again."""
    return {file.name: file.stat().st_ino for file in Path(".cache/features").glob("*.npy")}


def test_features_are_computed_once_for_all_that_they_follow_from_and_kept_while_read(trainer: Trainer) -> None:
    trainer.start(frozen(), SETTINGS, 0)
    first = kept()
    assert len(first) == 2
    again = Trainer(frozen(dropout=0.0), SETTINGS, "train", "validation")
    again.start(frozen(dropout=0.0), SETTINGS.model_copy(update={"batch_size": 4}), 1)
    assert kept() == first, "neither seed, nor dropout, nor training change them"
    again.start(frozen(normalize="none"), SETTINGS, 0)
    assert len(kept()) == 4
    torch.save({key: value * 1.01 for key, value in torch.load("resnet18.pth").items()}, "resnet18.pth")
    again.start(frozen(), SETTINGS, 0)
    assert len(kept()) == 6
    for name in first:
        os.utime(Path(".cache/features") / name, (0, 0))
    again.start(frozen(), SETTINGS, 0)
    assert len(kept()) == 4, "what no training read for long is removed"
    assert not first.keys() & kept().keys()


def test_after_a_kill_features_are_gone_on_from(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "evaluation_batch", lambda *_: 16)
    trainer.start(frozen(), SETTINGS, 0)
    (file,) = Path(".cache/features").glob("train-*.npy")
    whole = file.read_bytes()
    file.with_suffix(".part").write_bytes(whole[: len(whole) // 2])  # 128 bytes of header, 60 images of 512 values
    file.unlink()
    seen: list[int] = []
    take = trainer.images["train"].take

    def watched(order: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        seen.extend(order.tolist())
        return take(order, size)

    monkeypatch.setattr(trainer.images["train"], "take", watched)
    trainer.start(frozen(), SETTINGS, 0)
    assert seen[-44:] == list(range(16, 60))
    assert file.read_bytes() == whole
    assert not list(file.parent.glob("*.part"))


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ({"name": "squeezenet1_1"}, {}),  # whose last layer is a convolution, that is pooled
        ({"freeze": False}, {}),
        ({"freeze": "batch_norm"}, {}),
        ({}, {"augment": NO_AUGMENT | {"flip": True}}),
    ],
)
def test_what_changes_from_epoch_to_epoch_is_learned_from_images(
    model: dict[str, Any], changes: dict[str, Any], trainer: Trainer
) -> None:
    settings = section(**{"augment": NO_AUGMENT, "batch_size": 10, "epochs": 1, **changes})
    assert len(list(trainer.start(frozen(**model), settings, 0).epochs)) == 1
    assert kept() == {}
