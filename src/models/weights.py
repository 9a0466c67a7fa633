"""Trained weights of a network, published or from a file. No pickle is loaded."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from src.core.errors import UserError
from src.params import weights_file
from src.params.networks import TIMM

_NAMES = ("state_dict", "model_state_dict", "model")  # under which training programs store the weights in a file
_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.)+")  # DataParallel, torch.compile


def load_weights(network: nn.Module, last_layer: str, name: str, weights: str) -> None:
    """Load trained weights into all layers of the network of that name but the last.

    weights: "default" for the published ones, or a .pth or .safetensors file, relative to the repository. Raises
    `UserError` if they cannot be had, or if one that the network has is missing, too many or of another shape.
    """
    # Auxiliary heads (inception_v3, googlenet) only help training from scratch.
    left_out = ("aux", f"{last_layer}.")
    state = published(name) if weights == "default" else read_weights(weights)
    state = {key: tensor for key, tensor in state.items() if not key.lower().startswith(left_out)}
    last = {key: tensor for key, tensor in network.state_dict().items() if key.startswith(f"{last_layer}.")}
    try:
        network.load_state_dict({**state, **last})
    except RuntimeError as error:
        raise UserError(f"model.weights: {weights} does not fit {name}: {' '.join(str(error).split())[:300]}") from None


def published(name: str) -> Mapping[str, Tensor]:
    """Return the weights that torchvision or timm publishes for the network. Raises `UserError`."""
    source = name
    try:
        if name.startswith(TIMM):
            import timm
            from huggingface_hub import file_exists, try_to_load_from_cache

            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each retry is a warning
            hub = getattr(timm.models.get_pretrained_cfg(name.removeprefix(TIMM)), "hf_hub_id", None)
            files = "model.safetensors", "pytorch_model.bin"
            if hub and not any(try_to_load_from_cache(hub, file) for file in files):
                file_exists(hub, files[0])  # fails at once without a network; timm would try for 50 s
            network: nn.Module = timm.create_model(name.removeprefix(TIMM), pretrained=True)
            return network.state_dict()
        from torchvision.models import get_model_weights

        weights = get_model_weights(name).DEFAULT
        source = weights.url
        state: dict[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
        return state
    except Exception as error:  # both raise many kinds, for what is away, unknown or damaged
        reason = str(error.__cause__ or error).partition("\n")[0].partition(". ")[0]
        raise UserError(
            f"model.weights: {source} cannot be downloaded ({reason}): set model.weights to a file "
            "(of src.audit: --weights FILE), or to none"
        ) from None


def read_weights(weights: str) -> dict[str, Tensor]:
    """Return the state dict of a file, also of one that holds it under a usual name. Raises `UserError`."""
    path = weights_file(weights)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds, all meaning that the file is not what it should be
        reason = str(error).split(". ")[0]
        raise UserError(f"model.weights: {path} cannot be read: {reason}") from error
    for name in _NAMES:
        if isinstance(loaded, dict) and isinstance(loaded.get(name), dict):
            loaded = loaded[name]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"model.weights: {path} is not a state dict of tensors")
    return {_WRAPPERS.sub("", key): tensor for key, tensor in loaded.items()}
