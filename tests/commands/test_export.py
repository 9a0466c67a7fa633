"""ONNX files against PyTorch, through onnxruntime, and what they say of themselves."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from prediction_samples import make_model
from torch import nn

from src import export
from src.core.errors import UserError
from src.core.paths import MODEL, ONNX
from src.data.prepared import ImageFormat
from src.models.classifier import Probabilities
from src.prediction import onnx_file
from src.prediction.model import Model, load

IMAGE = ImageFormat(height=24, width=16, channels=3, resize=None)
CLASSES = ["cat", "dög", "owl"]


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["export"])
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.mark.parametrize("name", ["cifar_vgg", "fashion_net"])
def test_the_file_gives_pytorchs_probabilities_for_any_number_of_images(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = make_model(IMAGE, CLASSES, name)
    export.main()
    assert "uint8 (N, 24, 16, 3) → 3 probabilities, at most " in capsys.readouterr().out
    session = onnxruntime.InferenceSession(ONNX)
    for count in (1, 2, 7, 130):
        images = np.random.default_rng(count).integers(0, 256, (count, 24, 16, 3), np.uint8)
        (found,) = session.run(None, {"images": images})
        with torch.no_grad():
            expected = Probabilities(classifier)(torch.from_numpy(images))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_the_file_says_what_it_is_and_nothing_of_the_machine() -> None:
    make_model(IMAGE, CLASSES)
    export.main()
    session = onnxruntime.InferenceSession(ONNX)
    (inputs,), (outputs,) = session.get_inputs(), session.get_outputs()
    assert (inputs.name, inputs.type, inputs.shape[1:]) == ("images", "tensor(uint8)", [24, 16, 3])
    assert (outputs.name, outputs.type, outputs.shape[1:]) == ("probabilities", "tensor(float)", [3])
    assert inputs.shape[0] == outputs.shape[0] == "batch"
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == CLASSES
    assert json.loads(metadata["spec"]) == load(str(MODEL)).spec.model_dump()
    content = ONNX.read_bytes()
    assert b".py" not in content
    export.main()
    assert ONNX.read_bytes() == content


def test_a_file_that_differs_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(IMAGE, CLASSES)
    exported = onnx_file.convert

    def spoilt(model: Model) -> onnx.ModelProto:
        proto = exported(model)
        bias = next(weight for weight in proto.graph.initializer if weight.name.endswith("bias"))
        values = onnx.numpy_helper.to_array(bias) + 10
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return proto

    monkeypatch.setattr(onnx_file, "convert", spoilt)
    with pytest.raises(UserError, match="probabilities differ by"):
        export.main()
    assert not ONNX.exists()


class Unsorted(nn.Module):
    """What no ONNX operator does."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.float().mean() > 100:
            return images.float()
        return images.float() + 1


def test_what_torch_cannot_export_is_one_line() -> None:
    make_model(IMAGE, CLASSES)
    model = load(str(MODEL))._replace(module=Unsorted())
    with pytest.raises(UserError, match="cannot export mnist_convnet to ONNX") as raised:
        onnx_file.export(model, ONNX)
    assert "\n" not in str(raised.value)
    assert not ONNX.exists()


def test_what_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnx" else "found")
    with pytest.raises(UserError, match=r"^python -m src\.export needs onnx: make env EXTRA=onnx$"):
        export.main()
