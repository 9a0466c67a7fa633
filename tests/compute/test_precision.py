"""Training may compute in bfloat16 or tf32; what is reported is float32: what a user gets from the saved weights."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pandas
import pytest
import torch
from data_samples import run_stages
from evaluation_samples import linear_classifier
from evaluation_samples import section as evaluate_section
from numpy.typing import NDArray
from PIL import Image
from prediction_samples import as_json, run_predict
from scipy.special import softmax
from tracking_samples import RECIPE, make_tree
from training_samples import CPU, digits

import stages.evaluate
import stages.train
from src import export
from src.compute import device
from src.compute.batches import Batches
from src.compute.device import Compute
from src.compute.forward import logits
from src.core.paths import (
    ENVIRONMENT,
    HISTORY,
    LOGITS,
    METRICS,
    MODEL,
    ONNX,
    PREDICTIONS,
    TRAINING,
    VALIDATION_PREDICTIONS,
)  # fmt: skip
from src.data.prepared import LabelledImages, open_split
from src.evaluation.robustness import robustness
from src.evaluation.tta import log_mean_probabilities
from src.models.classifier import Classifier, Probabilities
from src.models.file import load
from src.tracking.model import export_model
from src.training.loop import measure

ROUNDED = 2e-6  # of a probability: six decimals in the tables, and the last bits of float32
ONNXRUNTIME = 1e-5  # its sums have another order

BFLOAT16 = Compute(torch.device("cpu"), torch.bfloat16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What train and evaluate leave of digits, after three epochs in bfloat16; the tree is the current folder."""
    root = tmp_path_factory.mktemp("bfloat16")
    make_tree(root)
    changes = {"precision": "bfloat16", "deterministic": "true", "threads": "1", "epochs": "3"}
    text = re.sub(rf"(?m)^(  ({'|'.join(changes)}): +)\w+", lambda found: found[1] + changes[found[2]], RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_STAGE"):
            patch.delenv(name, raising=False)
        run_stages(None, "digits")
        Path("params.yaml").write_text(text, encoding="utf-8")
        stages.train.main()
        stages.evaluate.main()
        yield root


@pytest.fixture
def held_out(trained: Path) -> LabelledImages:
    return open_split("test")


def test_the_training_was_in_bfloat16_whose_probabilities_are_others(held_out: LabelledImages) -> None:
    """By far more than the tolerances of this file: who reported them would be found."""
    assert json.loads(ENVIRONMENT.read_text(encoding="utf-8"))["precision"] == "bfloat16"
    classifier, _ = load(MODEL)
    images = Batches(held_out, CPU.device)
    with BFLOAT16.autocasting():
        half = logits(classifier, images).float().softmax(dim=1)
    assert (half - logits(classifier, images).softmax(dim=1)).abs().max() > 100 * ONNXRUNTIME


def test_the_numbers_of_validation_agree_with_each_other_and_with_the_saved_model(trained: Path) -> None:
    training, history = json.loads(TRAINING.read_text()), pandas.read_csv(HISTORY).set_index("epoch")
    table = pandas.read_csv(VALIDATION_PREDICTIONS)
    classifier, _ = load(MODEL)
    loss, accuracy = measure(classifier, Batches(open_split("validation"), CPU.device))
    kept = history.loc[training["best_epoch"]]
    found = [kept["validation_accuracy"], accuracy, (table["label"] == table["prediction"]).mean()]
    assert found == pytest.approx([training["validation_accuracy"]] * 3, abs=1e-6)
    assert kept["validation_loss"] == training["validation_loss"] == pytest.approx(loss, abs=1e-6)
    assert -np.log(table["label_probability"]).mean() == pytest.approx(loss, abs=1e-4)  # of six decimals


def probabilities() -> Probabilities:
    classifier, spec = load(MODEL)
    assert spec.temperature not in (None, 1)
    return spec.probabilities(classifier)


def by_predict(held_out: LabelledImages, patch: pytest.MonkeyPatch, output: Callable[[], str]) -> Sequence[float]:
    """`src.predict` of the same pixels, in files."""
    folder = Path("photos")
    folder.mkdir()
    for number, pixels in enumerate(held_out.images):
        Image.fromarray(np.array(pixels[..., 0])).save(folder / f"{number:04}.png")
    output()
    assert run_predict(patch, folder, "--format", "json") == 0
    return [row["probability"] for row in as_json(output())]


def by_onnx(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    export.main()
    (found,) = onnxruntime.InferenceSession(ONNX).run(None, {"images": images})
    return np.asarray(found.max(axis=1))


def by_mlflows_graph(images: NDArray[np.uint8], folder: Path) -> NDArray[np.float32]:
    """The one that MLflow keeps, and that a server loads."""
    export_model(folder / "exported", probabilities(), images[:2], MODEL)
    graph = folder / "exported/data/model.pt2"
    found: NDArray[np.float32] = torch.export.load(graph).module()(torch.from_numpy(images)).detach().numpy()
    return np.asarray(found.max(axis=1))


def test_reported_probabilities_are_those_of_predict_of_onnx_and_of_mlflows_graph(
    held_out: LabelledImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pandas.read_csv(PREDICTIONS)
    (_, spec), outputs = load(MODEL), np.load(LOGITS)["logits"]
    np.testing.assert_allclose(softmax(outputs, axis=1).max(axis=1), table["confidence"], rtol=0, atol=ROUNDED)
    reported = softmax(outputs / (spec.temperature or 1), axis=1).max(axis=1)  # calibrated, as all that follow
    images = np.array(held_out.images)
    predicted = by_predict(held_out, monkeypatch, lambda: capsys.readouterr().out)
    np.testing.assert_allclose(predicted, reported, rtol=0, atol=ROUNDED)
    np.testing.assert_allclose(by_mlflows_graph(images, tmp_path), reported, rtol=0, atol=ROUNDED)
    monkeypatch.setattr("sys.argv", ["export"])
    np.testing.assert_allclose(by_onnx(images), reported, rtol=0, atol=ONNXRUNTIME)
    right = (table["label"] == table["prediction"]).mean()
    assert json.loads(METRICS.read_text())["accuracy"] == pytest.approx(right, abs=1e-6)


def tf32() -> tuple[bool, bool]:
    """Of matrix products and of convolutions, whether tf32 may be used."""
    return torch.get_float32_matmul_precision() != "highest", torch.backends.cudnn.allow_tf32


@pytest.fixture
def training_in_tf32() -> Iterator[Compute]:
    """A process that was prepared for it, though this machine may have no device that computes it."""
    compute = Compute(torch.device("cpu"), None, tf32=True)
    device._allow_tf32(True)
    assert tf32() == (True, True)
    yield compute
    device.set_up()


def test_tf32_is_named(training_in_tf32: Compute) -> None:
    assert str(training_in_tf32) == "cpu, tf32"


class Spy(Classifier):
    """Notes at each forward pass whether tf32 may be used."""

    seen: list[tuple[bool, bool]]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(tf32())
        return super().forward(images)


def test_nothing_that_is_measured_uses_tf32(training_in_tf32: Compute) -> None:
    base = linear_classifier()
    spy = Spy(base.network, base.normalize)
    spy.seen = []
    images, wanted = Batches(digits(0, 20), CPU.device), evaluate_section("flip", noise=[0.1], fgsm=[0.1])
    logits(spy, images)
    log_mean_probabilities(spy, images, wanted)
    robustness(spy, images, wanted.robustness, 20)
    assert len(spy.seen) == 1 + 2 + 4  # plain; flip; plain, noise, gradient and attack
    assert set(spy.seen) == {(False, False)}
    assert tf32() == (True, True), "training goes on in it"
