"""A small model in a file, and the command lines that use it, in the current folder."""

import io
from pathlib import Path

import pandas
import pytest
import torch
from network_samples import model_section

from src import predict
from src.core.paths import MODEL
from src.data.prepared import ImageFormat
from src.models.classifier import Classifier
from src.models.model_file import Calibration, ModelSpec, save


def make_model(
    image: ImageFormat, classes: list[str], name: str = "mnist_convnet", calibration: Calibration | None = None
) -> Classifier:
    """Write models/model.safetensors: random weights, statistics of some random images where it has BatchNorm."""
    torch.manual_seed(0)
    means = [0.4, 0.5, 0.6][: image.channels]
    spec = ModelSpec(
        model=model_section(name, dropout=0.5, normalize="dataset"),
        classes=classes,
        image=image,
        mean=means,
        std=[0.2] * image.channels,
        calibration=calibration,
    )
    classifier = spec.build()
    with torch.no_grad():
        classifier(torch.randint(0, 256, (32, image.height, image.width, image.channels), dtype=torch.uint8))
    save(MODEL, classifier, spec)
    return classifier.eval()


def run_predict(patch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Return the exit code of `main`; a `UserError` comes out as it is."""
    patch.setattr("sys.argv", ["predict", *map(str, arguments)])
    try:
        predict.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def as_table(output: str) -> pandas.DataFrame:
    """Return what `--format csv` printed; every cell is text."""
    return pandas.read_csv(io.StringIO(output), dtype=str, keep_default_na=False)
