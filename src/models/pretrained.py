"""Classifiers of `torchvision.models`, with a new last layer and, if wanted, trained weights."""

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
    """Build the network `name`: images float32 (N, C, H, W) to logits (N, classes).

    weights: "none", "default" (torchvision downloads them) or a .pth or .safetensors file, relative to the repository.
    Trained weights are taken for every layer but the last, which is new. Grey images are given three equal channels.
    Raises `UserError` if weights cannot be had or do not fit.
    """
    network = build_for(image, name, classes)
    last_name, last = last_layer(network)
    if weights != "none":
        complaint = f"model.weights: {weights} does not fit {name}"
        # Auxiliary heads (inception_v3, googlenet) only matter when training from scratch.
        left_out = ("aux", f"{last_name}.")
        state = {
            key: value for key, value in read_weights(name, weights).items() if not key.lower().startswith(left_out)
        }
        try:
            missing, unexpected = network.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise UserError(f"{complaint}: {str(error).splitlines()[-1].strip()}") from None
        strange = unexpected + [key for key in missing if not key.startswith(f"{last_name}.")]
        if strange:
            raise UserError(f"{complaint}: {len(strange)} weights are missing or too many, {strange[0]} among them")
    if dropout:
        network.set_submodule(last_name, nn.Sequential(nn.Dropout(dropout), last))
    return network if image.channels == 3 else nn.Sequential(RepeatChannels(), network)


def build_for(image: ImageFormat, name: str, classes: int) -> nn.Module:
    """Build the network with random weights. Raises `UserError` if it cannot take images of this size.

    Many networks fail only when they compute, so it is tried, unless only the shapes of its weights are asked for
    (`src.models.file.Shapes`). Pooling to a size that the image's features have already is left out: it changes
    nothing, and its gradient has no deterministic kernel on CUDA.
    """
    from torchvision.models import get_model

    if name.startswith("vit_") and image.height != image.width:
        raise UserError(f"{name} needs square images, not {image.height}×{image.width}: set data.image_size")

    def attempt(image: ImageFormat) -> nn.Module:
        options: dict[str, Any] = {}  # which some families need
        if name.startswith("vit_"):
            options = {"image_size": image.height}
        elif name == "maxvit_t":
            options = {"input_size": (image.height, image.width)}
        elif name in ("inception_v3", "googlenet"):
            options = {"aux_logits": False, "init_weights": True}
        network: nn.Module = get_model(name, weights=None, num_classes=classes, **options).eval()
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
    """Give grey images (N, 1, H, W) three equal channels (N, 3, H, W)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


def read_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Return the published weights of the network `name`, or those of a file. Raises `UserError`; loads no pickle."""
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
