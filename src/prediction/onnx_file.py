"""The model as an ONNX file, for programs without PyTorch, checked against PyTorch before it counts.

Input `images`: uint8 (N, H, W, C), any N, as `src.predict` prepares photos; output `probabilities`: float32 (N, K). The
file's metadata hold `classes` (a JSON list, in the order of K) and `spec` (what the weights belong to).
"""

import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from src.core.errors import UserError
from src.core.files import replacing
from src.prediction.model import Model

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18  # what torch's exporter writes without converting; in onnxruntime since 1.14
TOLERANCE = 1e-4  # of a probability
_MOST_BYTES = 2 * 2**30  # of a protocol buffer
_CHECKED = (1, 2, 5)  # numbers of images in a batch


def export(model: Model, path: Path) -> float:
    """Write the file; return by how much its probabilities differ from PyTorch's at most, on random images.

    Raises `UserError` if the network cannot be exported, or differs by more than `TOLERANCE`; then nothing is written.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.module.state_dict().values())
    if weights >= _MOST_BYTES:
        raise UserError(f"the network has {weights / 2**30:.1f} GiB of weights: an ONNX file holds less than 2")
    model = Model(model.module.cpu(), model.spec, torch.device("cpu"))
    proto = convert(model)
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
        difference = largest_difference(temporary, model)
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported network's probabilities differ by {difference:.2g} from PyTorch's: not written"
            )
    return difference


def convert(model: Model) -> "ModelProto":
    """Convert the model, on the CPU, to ONNX. Raises `UserError` if torch's exporter cannot."""
    import onnx

    image = model.spec.image
    # Two: with one image torch's exporter takes 1 for the only number there is.
    example = torch.zeros(2, image.height, image.width, image.channels, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # MLflow's graph has no modes: it is what was exported for prediction.
            warnings.filterwarnings("ignore", ".*in training mode", UserWarning)
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)  # torch 2.11's own code
            program = torch.onnx.export(
                model.module,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"torch {torch.__version__} cannot export {model.spec.model.name} to ONNX: {reason}") from None
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    # The exporter stores paths and line numbers of source code in every node: remove them.
    graph = proto.graph
    parts = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for function in proto.functions:
        parts += [function, *function.node, *function.value_info]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    classes, spec = list(model.spec.classes), model.spec.model_dump()
    text = {"classes": classes, "spec": spec}
    onnx.helper.set_model_props(proto, {key: json.dumps(value, ensure_ascii=False) for key, value in text.items()})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def largest_difference(file: Path, model: Model) -> float:
    """Return the largest difference of a probability between onnxruntime and PyTorch, over batches of several sizes."""
    import onnxruntime  # type: ignore[import-untyped]

    image = model.spec.image
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    differences = []
    for count in _CHECKED:
        images = generator.integers(0, 256, (count, image.height, image.width, image.channels), np.uint8)
        (found,) = session.run(None, {"images": images})
        differences.append(np.abs(found - model.probabilities(images)).max())
    return float(max(differences))
