"""Convert the model to an ONNX graph, for programs without PyTorch, in float32 or with 8 bits.

Input `images`: uint8 (N, H, W, C), any N, as `src.predict` prepares photos. Output `probabilities`: float32 (N, K). The
file's metadata hold `classes`, a JSON list in the order of K, and `spec`, the `ModelSpec`.
"""

import json
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from src.core.errors import UserError
from src.prediction.model import Model

OPSET = 18  # which torch's exporter writes without converting, and onnxruntime reads since 1.14
_MOST_BYTES = 2 * 2**30  # of a protocol buffer
_AT_ONCE = 32  # images in a batch of the calibration


def convert(model: Model) -> bytes:
    """Convert the model, on the CPU, to the content of an ONNX file. Raises `UserError` if torch's exporter cannot."""
    import onnx
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    weights = sum(tensor.numel() * tensor.element_size() for tensor in model.module.state_dict().values())
    if weights >= _MOST_BYTES:
        raise UserError(f"the network has {weights / 2**30:.1f} GiB of weights: an ONNX file holds less than 2")

    image = model.spec.image
    # Two images: after an example of one, torch's exporter would allow batches of one only.
    example = torch.zeros(2, image.height, image.width, image.channels, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # A graph from MLflow was exported for prediction, and has no modes.
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
    ClearMetadataAndDocStringPass()(program.model)  # the paths and line numbers of source code, of every node
    proto: onnx.ModelProto = program.model_proto
    text = {"classes": list(model.spec.classes), "spec": model.spec.model_dump()}
    onnx.helper.set_model_props(proto, {key: json.dumps(value, ensure_ascii=False) for key, value in text.items()})
    onnx.checker.check_model(proto, full_check=True)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def quantize(content: bytes, images: NDArray[np.uint8]) -> bytes:
    """Return the graph with weights and activations of 8 bits, and a scale for each channel of weights.

    images: (N, H, W, C) of train. The scale of activations is that of the smallest and largest ones they cause.
    """
    from onnxruntime.quantization import CalibrationDataReader, quantize_static  # type: ignore[import-untyped]

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = ({"images": images[start : start + _AT_ONCE]} for start in range(0, len(images), _AT_ONCE))

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        before.write_bytes(content)
        logging.disable(logging.WARNING)  # it recommends a preparation that torch's exporter has already done
        try:
            quantize_static(before, after, Images(), per_channel=True)
        finally:
            logging.disable(logging.NOTSET)
        return after.read_bytes()
