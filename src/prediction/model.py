"""The model that predicts: a file of the pipeline, or what MLflow keeps. Neither holds a pickle."""

import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from src.faults import Fault
from src.models import file
from src.models.classifier import Probabilities
from src.models.file import Card
from src.tracking.runs import existing_store
from src.tracking.store import Store, explained, tracking_uri, without_credentials


class Model(NamedTuple):
    """`module`: uint8 (N, H, W, C) → class probabilities float32 (N, K), on `device`; `card` says what they mean."""

    module: nn.Module
    card: Card
    device: torch.device

    @torch.no_grad()
    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, K) of images (N, H, W, C). Raises `Fault` if one is not a number."""
        found: NDArray[np.float32] = self.module(torch.from_numpy(images).to(self.device)).cpu().numpy()
        if not np.isfinite(found).all():
            raise Fault("the model's probabilities are not finite numbers: its training diverged")
        return found


def load(name: str) -> Model:
    """The model of a file, of MLflow's registry (`models:/NAME@champion`), or of a run, by its id. Raises `Fault`.

    A file's network is computed on the accelerator where there is one; MLflow's exported graph on the CPU.
    """
    if name.startswith("models:/"):
        return _from_store(_store(), name)
    if re.fullmatch("[0-9a-f]{32}", name) and not Path(name).exists():
        return _of_run(_store(), name)
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    device = accelerator if accelerator is not None else torch.device("cpu")
    classifier, card = file.load(Path(name))
    return Model(Probabilities(classifier).to(device).eval(), card, device)


def _store() -> Store:
    store = existing_store()
    if store is None:
        uri = without_credentials(tracking_uri())
        raise Fault(f"MLflow at {uri} has no runs yet: run dvc repro, or set MLFLOW_TRACKING_URI")
    return store


def _of_run(store: Store, run_id: str) -> Model:
    with explained(store.uri):
        outputs = store.client.get_run(run_id).outputs
    if outputs is None or not outputs.model_outputs:
        raise Fault(f"the run {run_id} holds no model")
    return _from_store(store, f"models:/{outputs.model_outputs[-1].model_id}")


def _from_store(store: Store, uri: str) -> Model:
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"  # a pickle runs what it likes; ours has none
    with explained(store.uri), tempfile.TemporaryDirectory() as folder:
        import mlflow.artifacts
        import mlflow.pytorch
        from mlflow.models import Model as Description

        place = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=store.uri)
        card = (Description.load(place).metadata or {}).get("card")
        if card is None:
            raise Fault(f"{uri} was not logged by this repository: its metadata has no card")
        return Model(mlflow.pytorch.load_model(place), Card.model_validate(card), torch.device("cpu"))
