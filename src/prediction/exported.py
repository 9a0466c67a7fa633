"""The weights in an exported graph (`model.pt2`), read without loading it.

`torch.export.load` unpickles what an archive asks it to, and evaluates its symbolic expressions as Python. So the graph
of a store that others can write to is left alone: the spec names the network of the weights, and its code is ours.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.core.documents import read_json
from src.core.errors import UserError, out_of_memory
from src.data.archives import members

_FOLDER = "/data/weights/"
_CONFIG = "model_weights_config.json"
_MODULE = "classifier."  # of `src.models.classifier.Probabilities`
_TYPES = {5: torch.int64, 7: torch.float32}  # numbers of torch._export.serde.schema.ScalarType


def read_weights(path: Path, called: str) -> dict[str, Tensor]:
    """Weights by the names of `Classifier.state_dict`. Raises `UserError`, in which the archive is `called` so."""
    files = {
        member.name.rpartition("/")[2]: member.read()
        for member in members(path, path.stat().st_size, called)  # torch compresses nothing
        if _FOLDER in f"/{member.name}"
    }
    try:
        config = read_json(files[_CONFIG])["config"]
        return {name.removeprefix(_MODULE): _tensor(entry, files) for name, entry in config.items()}
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):
            raise
        raise UserError(f"{called} holds no weights that can be read without running it: {str(error)[:200]}") from None


def _tensor(entry: dict[str, Any], files: dict[str, bytes]) -> Tensor:
    """A copy, so that it does not depend on the archive's memory. torch itself refuses strides that lead outside."""
    if entry["use_pickle"]:
        raise ValueError("a weight is a pickle")
    described = entry["tensor_meta"]
    shape, strides = ([length["as_int"] for length in described[key]] for key in ("sizes", "strides"))
    content = files[entry["path_name"]]
    numbers = torch.frombuffer(bytearray(content), dtype=_TYPES[described["dtype"]])
    if numbers.numel() != torch.Size(shape).numel():
        raise ValueError(f"a weight of the shape {shape} has {numbers.numel():,} numbers")
    return numbers.as_strided(shape, strides).clone(memory_format=torch.contiguous_format)
