"""The prepared data set as an MLflow input of a run."""

import json
from typing import TYPE_CHECKING

from src import params
from src.data.prepared import read_dataset
from src.tracking.identity import data_digest
from src.tracking.store import without_credentials

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput


def dataset_input(data: params.Data) -> "DatasetInput":
    """Name, digest, where it came from, shape and counts. The entity itself, since `mlflow.data` reads the arrays."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    prepared = read_dataset()
    image = prepared.image
    pixels = {
        "type": "tensor",
        "tensor-spec": {"dtype": "uint8", "shape": [-1, image.height, image.width, image.channels]},
    }
    labels = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
    counts = {f"{name}_images": split.count for name, split in prepared.splits.items()}
    dataset = Dataset(
        name=prepared.name,
        digest=data_digest(),
        source_type="local" if data.source is None or "://" not in data.source else "http",
        source=json.dumps({"uri": without_credentials(data.source or prepared.name)}),
        schema=json.dumps({"mlflow_tensorspec": {"features": json.dumps([pixels]), "targets": json.dumps([labels])}}),
        profile=json.dumps({"classes": len(prepared.classes), **counts}),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])
