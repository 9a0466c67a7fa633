"""Training may compute in bfloat16, but reported numbers are those of the saved weights in float32.

Those of test-time augmentation alone have the precision of training.
"""

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from clones import set_params
from data_samples import run_stages
from evaluation_samples import linear_classifier
from tracking_samples import enter_tree
from training_samples import CPU, digits, section

import stages.evaluate
import stages.train
from src.compute import device
from src.compute.batches import Batches
from src.compute.device import Compute
from src.compute.forward import logits
from src.core.paths import ENVIRONMENT, HISTORY, METRICS, MODEL, PREDICTIONS, TRAINING, VALIDATION_PREDICTIONS
from src.data.prepared import open_split
from src.evaluation.tta import log_mean_probabilities
from src.models.model_file import load
from src.training.loop import measure


def test_reported_numbers_agree_with_each_other_and_with_the_saved_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of digits, trained for three epochs in bfloat16."""
    root = enter_tree(tmp_path, monkeypatch)
    run_stages(None, "digits")
    changes = {"precision": "bfloat16", "deterministic": True, "threads": 1, "epochs": 3}
    set_params(root, {f"train.{key}": value for key, value in changes.items()})
    stages.train.main()
    stages.evaluate.main()
    assert json.loads(ENVIRONMENT.read_text(encoding="utf-8"))["precision"] == "bfloat16"

    training, history = json.loads(TRAINING.read_text()), pandas.read_csv(HISTORY).set_index("epoch")
    table = pandas.read_csv(VALIDATION_PREDICTIONS)
    classifier, _ = load(MODEL)
    loss, accuracy = measure(classifier, Batches(open_split("validation"), CPU.device))
    kept = history.loc[training["best_epoch"]]
    found = [kept["validation_accuracy"], accuracy, (table["label"] == table["prediction"]).mean()]
    assert found == pytest.approx([training["validation_accuracy"]] * 3, abs=1e-6)
    assert kept["validation_loss"] == training["validation_loss"] == pytest.approx(loss, abs=1e-6)
    assert -np.log(table["label_probability"]).mean() == pytest.approx(loss, abs=1e-4)  # of six decimals

    table = pandas.read_csv(PREDICTIONS)
    expected = logits(classifier, Batches(open_split("test"), CPU.device)).softmax(dim=1).amax(dim=1)
    # Rounded to six decimals. In bfloat16 they differ by more than 1e-3.
    np.testing.assert_allclose(table["confidence"], expected, rtol=0, atol=2e-6)
    right = (table["label"] == table["prediction"]).mean()
    assert json.loads(METRICS.read_text())["accuracy"] == pytest.approx(right, abs=1e-6)


def test_test_time_augmentation_computes_as_training_and_adds_up_in_float32() -> None:
    classifier, images = linear_classifier(), Batches(digits(0, 200), CPU.device)
    exact, coarse = (
        log_mean_probabilities(classifier, images, "flip", Compute(CPU.device, precision))
        for precision in (None, torch.bfloat16)
    )
    assert coarse.dtype == torch.float32
    assert 1e-4 < (coarse - exact).abs().max() < 0.1
    torch.testing.assert_close(coarse.exp().sum(dim=1), torch.ones(200))  # of bfloat16 it would be off by 1e-3


def test_the_capability_of_a_cpu_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["avx512_bf16", "amx_tile"]
    assert set(names) <= torch.cpu.get_capabilities().keys() or platform.machine() != "x86_64"
    for has, able in (([], "cpu"), (names[:1], "cpu avx512_bf16"), (names, "cpu amx")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: dict.fromkeys(has, True))
        assert device.capability(CPU.device) == able


@pytest.mark.parametrize(
    ("network", "precision"),
    [
        ("timm/tf_efficientnet_lite0", "float32"),
        ("mobilenet_v3_large", "float32"),
        ("timm/mobilenetv4_conv_small", "float32"),
        ("efficientnet_v2_s", "bfloat16"),
        ("timm/tf_efficientnetv2_s", "bfloat16"),
        ("resnet18", "bfloat16"),
        ("mnist_convnet", "bfloat16"),
        ("fashion_net", "float32"),
    ],
)
def test_auto_is_what_was_faster_with_a_network(network: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert device.prepare(section(device="cpu", precision="auto"), network).precision == precision


def test_the_wanted_gpu_is_the_one_that_is_asked_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pretended ones, of which the second has bfloat16."""
    present = [0]

    @contextmanager
    def of(chosen: torch.device) -> Iterator[None]:
        before, present[0] = present[0], chosen.index
        yield
        present[0] = before

    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", of)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: present.__setitem__(0, index))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: present[0] == 1)
    assert [device.capability(torch.device("cuda", index)) for index in (0, 1)] == ["cuda", "cuda bfloat16"]
    for wanted, index in (("cuda:1", 1), ("cuda:0", 0), ("cuda:1", 1), ("cuda", 0)):
        device.prepare(section(device=wanted), "cifar_basic")
        assert present == [index]
