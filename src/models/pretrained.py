"""Classifiers of `torchvision.models`, with a new last layer and, if wanted, trained weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.layers import last_layer, mean_pooled_to
from src.params import weights_file


def torchvision_network(name: str, weights: str, image: ImageFormat, classes: int, dropout: float) -> nn.Module:
    """The network `name`, images float32 (N, C, H, W) to logits (N, classes).

    weights: "none", "default" (torchvision downloads them) or a .pth or .safetensors file, relative to the repository.
    Trained weights keep everything but the last layer, which is new. Grey images are given three equal channels.
    Raises `UserError` where weights cannot be had or do not fit.
    """
    from torchvision.models import get_model

    network = _built(get_model, name, image, classes)
    last_name, last = last_layer(network)
    if weights != "none":
        _load_all_but(last_name, network, _state(name, weights), f"model.weights: {weights} does not fit {name}")
    if dropout:
        network.set_submodule(last_name, nn.Sequential(nn.Dropout(dropout), last))
    return network if image.channels == 3 else nn.Sequential(RepeatChannels(), network)


def _built(get_model: Callable[..., nn.Module], name: str, image: ImageFormat, classes: int) -> nn.Module:
    """The network, once it has shown that it takes images of this size: many fail only when they compute.

    Where only the shapes of its weights are asked for (`src.models.file.Shapes`), it has nothing to show. Pooling to a
    size that the image's features have already is left out: it changes nothing, and its gradient has no deterministic
    kernel on CUDA.
    """

    def attempt(image: ImageFormat) -> nn.Module:
        network = get_model(name, weights=None, num_classes=classes, **_arguments(name, image)).eval()
        images = torch.zeros(1, 3, image.height, image.width)
        size = mean_pooled_to(getattr(network, "avgpool", nn.Identity()))
        with torch.no_grad():
            if size is not None:  # alexnet and vgg*: what comes behind it takes features of every size
                if network.get_submodule("features")(images).shape[2:] == size:
                    network.avgpool = nn.Identity()
            elif not next(network.parameters()).is_meta:
                network(images)
        return network

    try:
        return attempt(image)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0][:200]
    for side in range(16, 257, 16):
        try:
            attempt(image.model_copy(update={"height": side, "width": side}))
        except (RuntimeError, ValueError, AssertionError):
            continue
        raise UserError(
            f"{name} cannot take images of {image.height}×{image.width} pixels ({reason}): "
            f"set data.image_size, for example to {side}, the smallest multiple of 16 that it takes"
        )
    raise UserError(f"{name} cannot take images of {image.height}×{image.width} pixels: {reason}")


class RepeatChannels(nn.Module):
    """(N, 1, H, W) → (N, 3, H, W) with three equal channels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


def _arguments(name: str, image: ImageFormat) -> dict[str, Any]:
    """What some families must be told when they are built."""
    if name.startswith("vit_"):
        if image.height != image.width:
            raise UserError(f"{name} needs square images, not {image.height}×{image.width}: set data.image_size")
        return {"image_size": image.height}
    if name == "maxvit_t":
        return {"input_size": (image.height, image.width)}
    if name in ("inception_v3", "googlenet"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _state(name: str, weights: str) -> dict[str, Tensor]:
    if weights == "default":
        from torchvision.models import get_model_weights

        published = get_model_weights(name).DEFAULT
        try:
            state: dict[str, Tensor] = published.get_state_dict(progress=True, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:  # RuntimeError: the file is damaged
            file = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rpartition("/")[2]
            raise UserError(
                f"model.weights: {published.url} cannot be downloaded ({error}): place the file at {file}, "
                "or set model.weights to its path, or to none"
            ) from None
        return state
    path = weights_file(weights)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds, all meaning that the file is not what it should be
        reason = str(error).split(". ")[0]
        raise UserError(f"model.weights: {path} cannot be read: {reason}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"model.weights: {path} is not a state dict of tensors")
    return loaded


def _load_all_but(last: str, network: nn.Module, state: dict[str, Tensor], complaint: str) -> None:
    """Loads trained weights into every layer but the last, which keeps its new ones."""
    # Auxiliary heads (inception_v3, googlenet) only matter when training from scratch.
    ours = {key: value for key, value in state.items() if not key.lower().startswith(("aux", f"{last}."))}
    try:
        missing, unexpected = network.load_state_dict(ours, strict=False)
    except RuntimeError as error:
        raise UserError(f"{complaint}: {str(error).splitlines()[-1].strip()}") from None
    strange = unexpected + [key for key in missing if not key.startswith(f"{last}.")]
    if strange:
        raise UserError(f"{complaint}: {len(strange)} weights are missing or too many, {strange[0]} among them")
