"""Export the model to another format, check it against PyTorch, and measure both."""

import io
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from src.core.errors import UserError
from src.core.paths import DATASET
from src.data.prepared import open_split, read_dataset, read_identity
from src.models.model_file import ModelSpec
from src.prediction import onnx_file
from src.prediction.model import Model
from src.stats.groups import Groups

Format = Literal["onnx", "pt2", "onnx-int8"]
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images (N, H, W, C) → class probabilities (N, K)

TOLERANCE = 1e-4  # difference of a probability in float32
BATCHES = (1, 32)  # sizes of batches that are timed
_CHECKED = (1, 2, 5)  # sizes of batches that are compared with PyTorch
_CALIBRATION = 256  # images of train, by which 8 bits are scaled
_MEASURED = 2_000  # images of validation at most, by which accuracy is measured
_REPEATED = 15  # times that a batch is timed


def export(model: Model, form: Format) -> tuple[bytes, Run, float]:
    """Return the file's content, a function that runs it, and the largest difference from PyTorch's probabilities.

    Raises `UserError` if the network cannot be exported, or if the difference in float32 is more than `TOLERANCE`.
    """
    if form == "onnx-int8" and not _prepared(model.spec):
        raise UserError(
            "onnx-int8 is calibrated on the model's training images, which data/prepared does not hold: run dvc repro "
            "in the clone that trained it"
        )
    if form == "pt2":
        buffer, spec = io.BytesIO(), model.spec.model_dump()
        example = torch.zeros(2, *_shape(model.spec), dtype=torch.uint8)
        with torch.no_grad():
            program = torch.export.export(model.module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, buffer, extra_files={"spec": json.dumps(spec, ensure_ascii=False)})
        content = buffer.getvalue()
        module = torch.export.load(io.BytesIO(content)).module()  # noqa: TID251 (written above)

        def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return module(torch.from_numpy(images)).numpy(force=True)  # type: ignore[no-any-return]
    else:
        import onnxruntime  # type: ignore[import-untyped]

        content = onnx_file.convert(model)
        if form == "onnx-int8":
            content = onnx_file.quantize(content, open_split("train").images[:_CALIBRATION])
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

        def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return session.run(None, {"images": images})[0]  # type: ignore[no-any-return]

    generator = np.random.default_rng(0)
    batches = [generator.integers(0, 256, (count, *_shape(model.spec)), np.uint8) for count in _CHECKED]
    difference = float(max(np.abs(run(images) - model.probabilities(images)).max() for images in batches))
    if form != "onnx-int8" and not difference <= TOLERANCE:
        raise UserError(f"the exported network's probabilities differ by {difference:.2g} from PyTorch's: not written")
    return content, run, difference


class Measured(NamedTuple):
    """Hold which images of validation are right, and how long a batch takes."""

    right: list[bool]  # empty if data/prepared does not hold the model's images
    milliseconds: list[float]  # median for each of `BATCHES`


def compare(runs: Mapping[str, Run], spec: ModelSpec) -> tuple[dict[str, Measured], Groups]:
    """Measure the runs in turns; return also the groups of the validation images, if they have some."""
    measured = {name: Measured([], []) for name in runs}
    groups: Groups = None
    if _prepared(spec):
        validation = open_split("validation")
        count = min(_MEASURED, len(validation.labels))
        for start in range(0, count, max(BATCHES)):
            part = slice(start, min(count, start + max(BATCHES)))
            images, labels = np.array(validation.images[part]), validation.labels[part]
            for name, run in runs.items():
                measured[name].right.extend((run(images).argmax(axis=1) == labels).tolist())
        if of_all := read_identity("validation").get("group"):
            groups = of_all[:count]
    for batch in BATCHES:
        images = np.random.default_rng(0).integers(0, 256, (batch, *_shape(spec)), np.uint8)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(1 + _REPEATED):
            for name, run in runs.items():
                started = time.perf_counter()
                run(images)
                seconds[name].append(time.perf_counter() - started)
        for name in runs:
            measured[name].milliseconds.append(1000 * statistics.median(seconds[name][1:]))  # the first one warms up
    return measured, groups


def _shape(spec: ModelSpec) -> tuple[int, int, int]:
    return spec.image.height, spec.image.width, spec.image.channels


def _prepared(spec: ModelSpec) -> bool:
    """Tell if data/prepared holds images of the model's format and classes."""
    if not DATASET.is_file():
        return False
    dataset = read_dataset()
    return dataset.image == spec.image and dataset.classes == list(spec.classes)
