"""Export the trained model for MLflow to keep and serve: as a graph that needs neither pickle nor our code.

Beside the graph lies `model.safetensors`, which `src.predict` loads.
"""

import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from src.core.paths import AUGMENTATION, MODEL
from src.models.model_file import load
from src.tracking.store import Store, quieten

# What it takes to load the model and predict. MLflow's own search for it takes 8 s and finds packages in vain.
_REQUIREMENTS = ("mlflow", "numpy", "torch")


def log_model(store: Store, run_id: str) -> str:
    """Export the model in `models/`, log it as an output of the run, and return its id."""
    with np.load(AUGMENTATION, allow_pickle=False) as shown:
        example = shown["images"][:2]  # a training image, and what augmentation made of it
    with tempfile.TemporaryDirectory() as folder:
        export_model(Path(folder, "model"), example)
        return send_model(store, run_id, Path(folder, "model"))


def export_model(folder: Path, images: NDArray[np.uint8]) -> None:
    """Write the model in `models/`, uint8 (N, H, W, C) → probabilities float32 (N, K) with any N, to a new `folder`.

    images: (2, H, W, C), an example, since the graph of a single image takes batches of one only. Raises `ValueError`
    if the graph and the model disagree on a batch of another size.
    """
    quieten()
    import mlflow.pytorch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    classifier, spec = load(MODEL)
    module = spec.probabilities(classifier).eval()
    batch = torch.from_numpy(np.concatenate([images, images[:1]]))
    with torch.no_grad():
        expected = torch.cat([module(batch[:2]), module(batch[2:])])
    mlflow.pytorch.save_model(
        module,
        folder,
        mlflow_model=Model(metadata={"classes": list(spec.classes)}),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(images.dtype, (-1, *images.shape[1:]))]),
            outputs=Schema([TensorSpec(np.dtype("float32"), (-1, expected.shape[1]))]),
        ),
        input_example=images,
        # Without the suffix of the build (`+cu130`), which no package index knows.
        pip_requirements=[f"{name}=={metadata.version(name).partition('+')[0]}" for name in _REQUIREMENTS],
        serialization_format="pt2",
    )
    shutil.copyfile(MODEL, folder / MODEL.name)
    try:  # the exporter may have fixed the batch size silently
        with torch.no_grad():
            found = torch.export.load(folder / "data" / "model.pt2").module()(batch)
    except AssertionError as error:  # a guard of the graph
        raise ValueError(f"the exported graph does not take any number of images: {error}") from error
    if not torch.allclose(found, expected, atol=1e-5):
        raise ValueError("the exported graph gives other probabilities than the model it was made from")


def send_model(store: Store, run_id: str, folder: Path) -> str:
    """Log the exported model as an output of the run, and return its id. If called again, it keeps the same id."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    client = store.client
    run = client.get_run(run_id)
    known = client.search_logged_models([store.experiment_id], f"source_run_id = '{run_id}'", max_results=1)
    logged = (
        known[0] if known else client.create_logged_model(store.experiment_id, "model", run_id, params=run.data.params)
    )
    model = Model.load(folder)
    model.artifact_path, model.run_id = logged.artifact_location, run_id
    model.model_uuid = model.model_id = logged.model_id
    model.save(folder / "MLmodel")
    store.artifacts(logged.artifact_location).log_artifacts(str(folder))
    if run.outputs is None or logged.model_id not in [output.model_id for output in run.outputs.model_outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return str(logged.model_id)
