"""The prepared data set as an MLflow input of a run."""

import json

from src import params
from src.core.addresses import without_credentials
from src.data.prepared import read_dataset
from src.tracking.identity import data_digest


def dataset_record(data: params.Data) -> dict[str, str]:
    """Name, digest, where it came from, shape and counts: the fields of MLflow's `Dataset`, whose own makers read the
    arrays."""
    prepared = read_dataset()
    image = prepared.image
    pixels = {
        "type": "tensor",
        "tensor-spec": {"dtype": "uint8", "shape": [-1, image.height, image.width, image.channels]},
    }
    labels = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
    counts = {f"{name}_images": split.count for name, split in prepared.splits.items()}
    return {
        "name": prepared.name,
        "digest": data_digest(),
        "source_type": "local" if data.source is None or "://" not in data.source else "http",
        "source": json.dumps({"uri": without_credentials(data.source or prepared.name)}),
        "schema": json.dumps(
            {"mlflow_tensorspec": {"features": json.dumps([pixels]), "targets": json.dumps([labels])}}
        ),
        "profile": json.dumps({"classes": len(prepared.classes), **counts}),
    }
