"""Exported files compute what PyTorch does, and say what they are."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
import torch
from clones import ROOT
from data_samples import encoded, picture, png, run_stages, write_files
from prediction_samples import make_model
from torch import nn

from src import export
from src.core.errors import UserError
from src.core.paths import MODEL, ONNX
from src.data.prepared import ImageFormat, open_split, read_dataset
from src.models.classifier import Probabilities
from src.prediction import onnx_file
from src.prediction.model import Model, load

IMAGE = ImageFormat(height=24, width=16, channels=3, resize=None)
CLASSES = ["cat", "dög", "owl"]


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["export"])


@pytest.mark.parametrize("name", ["cifar_vgg", "fashion_net"])
def test_the_file_gives_pytorchs_probabilities_and_says_what_it_is_and_nothing_of_the_machine(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = make_model(IMAGE, CLASSES, name)
    export.main()
    printed = capsys.readouterr().out
    assert "uint8 (N, 24, 16, 3) → 3 probabilities, at most " in printed
    assert "right of 0 validation images" in printed
    session = onnxruntime.InferenceSession(ONNX)
    for count in (1, 2, 7, 130):
        images = np.random.default_rng(count).integers(0, 256, (count, 24, 16, 3), np.uint8)
        (found,) = session.run(None, {"images": images})
        with torch.no_grad():
            expected = Probabilities(classifier)(torch.from_numpy(images))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
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
    convert = onnx_file.convert

    def spoilt(model: Model) -> bytes:
        proto = onnx.load_from_string(convert(model))
        bias = next(weight for weight in proto.graph.initializer if weight.name.endswith("bias"))
        values = onnx.numpy_helper.to_array(bias) + 10
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return bytes(proto.SerializeToString())

    monkeypatch.setattr(onnx_file, "convert", spoilt)
    with pytest.raises(UserError, match="probabilities differ by"):
        export.main()
    assert not ONNX.exists()


def test_the_programs_of_the_docs_print_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    make_model(IMAGE, CLASSES)
    export.main()
    write_files(Path(), {"photo.jpg": encoded(picture(1, 90).crop((0, 0, 90, 50)), "JPEG", quality=90)})
    programs = re.findall("```python\n(.*?)```", (ROOT / "docs/models.md").read_text(encoding="utf-8"), re.DOTALL)
    printed = []
    for program in programs:
        capsys.readouterr()
        exec(program, {})
        printed.append(capsys.readouterr().out)
    assert len(printed) == 2
    assert printed[0] == printed[1]
    assert re.fullmatch(r"(cat|dög|owl) 0\.\d\d\n", printed[0])


class Unsorted(nn.Module):
    """A network that cannot be exported, since its flow depends on values."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.float().mean() > 100:
            return images.float()
        return images.float() + 1


def test_what_torch_cannot_export_is_one_line() -> None:
    make_model(IMAGE, CLASSES)
    model = load(str(MODEL))._replace(module=Unsorted())
    with pytest.raises(UserError, match="cannot export mnist_convnet to ONNX") as raised:
        onnx_file.convert(model)
    assert "\n" not in str(raised.value)


def test_pytorchs_own_file_gives_the_same_for_any_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = make_model(IMAGE, CLASSES)
    monkeypatch.setattr("sys.argv", ["export", "--format", "pt2"])
    export.main()
    module = torch.export.load("models/model.pt2").module()
    for count in (1, 3, 40):
        images = torch.randint(0, 256, (count, 24, 16, 3), dtype=torch.uint8)
        torch.testing.assert_close(module(images), Probabilities(classifier)(images))


def test_integers_of_8_bits_are_as_right_and_a_quarter_of_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["export", "--format", "onnx-int8"])
    make_model(IMAGE, CLASSES)
    with pytest.raises(UserError, match="training images, which data/prepared does not hold: run dvc repro"):
        export.main()
    file = Path("models/model.int8.onnx")
    assert not file.exists()
    files = {f"{kind}/{n}.png": png(100 * n + k, 24) for k, kind in enumerate(CLASSES) for n in range(60)}
    run_stages(write_files(tmp_path / "photos", files), image_size=24, groups=r"(\d)\.png")
    dataset = read_dataset()
    classifier = make_model(dataset.image, dataset.classes)
    capsys.readouterr()
    export.main()
    validation = open_split("validation")
    printed = capsys.readouterr().out
    assert f"right of {len(validation.labels)} validation images" in printed
    low, high = map(float, re.findall(r" % \((.+)–(.+)\) ", printed)[0])
    assert high - low > 60, "of few groups; of as many independent images it would be 30 points"
    assert file.stat().st_size < 0.3 * MODEL.stat().st_size
    graph = onnx.load(file).graph
    weights = {
        tensor.name: tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4 and tensor.dims[0] > 1
    }
    assert weights
    assert set(weights.values()) == {onnx.TensorProto.INT8}
    session = onnxruntime.InferenceSession(file)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == dataset.classes
    images = np.array(validation.images)
    (found,) = session.run(None, {"images": images})
    with torch.no_grad():
        expected = Probabilities(classifier)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_what_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnx" else "found")
    with pytest.raises(UserError, match=r"^python -m src\.export needs onnx: make env EXTRA=onnx$"):
        export.main()
