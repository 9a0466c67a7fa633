"""Load a model to predict with, from a file of the pipeline or from its copy in MLflow. Neither holds a pickle."""

import re
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from src.compute.device import EVALUATED_IMAGES, set_up
from src.core.errors import UserError, out_of_memory
from src.core.paths import MODEL
from src.models import model_file
from src.models.classifier import Classifier
from src.models.model_file import ModelSpec
from src.tracking.runs import logged_model, run_by_id
from src.tracking.store import Store, explained, required_store

_BATCH_BYTES = 32 * 2**20  # of pixels as uint8; the network makes float32 of them


class Model(NamedTuple):
    """Hold a module, uint8 (N, H, W, C) → class probabilities float32 (N, K), on its device, and what they mean."""

    module: nn.Module
    spec: ModelSpec
    device: torch.device

    @property
    def batch_size(self) -> int:
        """Return the number of photos to compute at once."""
        image = self.spec.image
        return max(1, min(EVALUATED_IMAGES, _BATCH_BYTES // (image.height * image.width * image.channels)))

    @torch.no_grad()
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities (N, K) of images (N, H, W, C).

        Raises `UserError` if one of them is not finite, or if the network does not fit the images.
        """
        try:
            found: NDArray[np.float32] = self.module(torch.from_numpy(images).to(self.device)).cpu().numpy()
        except (IndexError, RuntimeError) as error:  # weights that fit each other may yet fit no image
            if out_of_memory(error):
                raise
            raise UserError(f"the model cannot take its images: {str(error).splitlines()[0][:200]}") from None
        if not np.isfinite(found).all():
            raise UserError("the model's probabilities are not finite: its training diverged, or its file is damaged")
        return found

    def least(self, coverage: str) -> float:
        """Return the probability from which on a class is possible. Raises `UserError` if it is not known.

        coverage: share of images whose true class is then among the possible ones.
        """
        calibration = self.spec.calibration
        if calibration is None:
            raise UserError("the model knows no coverage: it was trained without validation images, or is older")
        if coverage not in calibration.least:
            raise UserError(f"coverage is {coverage}: the model knows {', '.join(calibration.least)}")
        if not calibration.least[coverage]:
            raise UserError(f"coverage is {coverage}: the model saw too few validation images to rule out any class")
        return calibration.least[coverage]


def load(name: str, device: str = "auto") -> Model:
    """Load the model of a file, of MLflow's registry (`models:/NAME@champion`), or of a run by its id.

    device: as `train.device`. Raises `UserError`.
    """
    place = set_up(device)
    # An operator that can only compute without this promise shall not stop a model that was trained without it.
    torch.set_deterministic_debug_mode("warn")
    warnings.filterwarnings("ignore", ".*does not have a deterministic implementation", UserWarning)
    if name.startswith("models:/"):
        classifier, spec = _from_store(required_store(), name)
    elif re.fullmatch("[0-9a-f]{32}", name) and not Path(name).exists():
        store = required_store()
        run = run_by_id(store, name)
        model = logged_model(store, run) if run else None
        if model is None:
            raise UserError(f"no run {name} holds a model")
        classifier, spec = _from_store(store, f"models:/{model.model_id}")
    elif name == str(MODEL) or Path(name).is_file():
        classifier, spec = model_file.load(Path(name))
    else:
        raise UserError(f"--model {name} is no file: name one, or models:/NAME@champion, or a run's id")
    return Model(spec.probabilities(classifier).to(place).eval(), spec, place)


def _from_store(store: Store, uri: str) -> tuple[Classifier, ModelSpec]:
    """Load the copy of `models/model.safetensors`, and none of the model's other files, which can hold code."""
    with explained(store.uri), tempfile.TemporaryDirectory() as folder:
        import mlflow.artifacts

        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=store.uri)
        copy = Path(folder, MODEL.name)
        if not copy.is_file():
            raise UserError(f"{uri} was not logged by this repository, or by another version of it: no {MODEL.name}")
        try:
            return model_file.load(copy)
        except UserError as fault:
            raise UserError(str(fault).replace(str(copy), uri)) from None
