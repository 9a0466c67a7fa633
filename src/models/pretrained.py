"""Networks of torchvision and timm, with a new last layer and, if wanted, trained weights."""

from typing import Any

import torch
from torch import Tensor, nn

from src import params
from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.layers import last_layer, mean_pooled_to
from src.models.weights import load_weights
from src.params.networks import TIMM, check_timm

HEAD_SCALE = 0.01


def pretrained_network(model: params.Model, image: ImageFormat, classes: int) -> nn.Module:
    """Build the network that `model` names: images float32 (N, C, H, W) to logits (N, classes).

    Trained weights are taken for every layer but the last, which is new and starts nearly at zero: from large random
    weights (timm draws those of its EfficientNets by the number of classes, which gives two a first loss of 2.9) the
    first gradients would undo what the other layers have learned. Grey images are given three equal channels. Raises
    `UserError` if weights cannot be had or do not fit.
    """
    network = build_for(image, model.name, classes)
    last_name, last = last_layer(network)
    with torch.no_grad():
        last.weight *= HEAD_SCALE
        if last.bias is not None:
            last.bias.zero_()
    if model.weights != "none":
        load_weights(network, last_name, model.name, model.weights)
    if model.dropout:
        network.set_submodule(last_name, nn.Sequential(nn.Dropout(model.dropout), last))
    return network if image.channels == 3 else nn.Sequential(RepeatChannels(), network)


def build_for(image: ImageFormat, name: str, classes: int) -> nn.Module:
    """Build the network with random weights. Raises `UserError` if it cannot take images of this size.

    Many networks fail only when they compute, so it is tried, unless only the shapes of its weights are asked for
    (`src.models.file.Shapes`). Pooling to a size that the image's features have already is left out: it changes
    nothing, and its gradient has no deterministic kernel on CUDA.
    """
    if name.startswith("vit_") and image.height != image.width:
        raise UserError(f"{name} needs square images, not {image.height}×{image.width}: set data.image_size")

    def attempt(image: ImageFormat) -> nn.Module:
        network = of_timm(image, name, classes) if name.startswith(TIMM) else of_torchvision(image, name, classes)
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


def of_torchvision(image: ImageFormat, name: str, classes: int) -> nn.Module:
    """Build a classifier of torchvision in evaluation mode, for images of this size where its family needs to know."""
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options = {"image_size": image.height}
    elif name == "maxvit_t":
        options = {"input_size": (image.height, image.width)}
    elif name in ("inception_v3", "googlenet"):
        options = {"aux_logits": False, "init_weights": True}
    network: nn.Module = get_model(name, weights=None, num_classes=classes, **options)
    return network.eval()


def of_timm(image: ImageFormat, name: str, classes: int) -> nn.Module:
    """Build a network of timm in evaluation mode, for images of this size where its family needs to know."""
    import timm

    if not isinstance(timm_config(name).classifier, str):
        raise UserError(f"model.name: {name} has several last layers, as distilled networks do: take one that has not")
    options: dict[str, Any] = {"img_size": (image.height, image.width)} if timm_config(name).fixed_input_size else {}
    network: nn.Module = timm.create_model(name.removeprefix(TIMM), num_classes=classes, **options)
    return network.eval()


def timm_config(name: str) -> Any:
    """Return how timm's network `name` was pretrained: `mean`, `std`, `input_size` (C, H, W), `interpolation`.

    Raises `UserError` if there is no such network.
    """
    from timm.models import get_pretrained_cfg

    check_timm(name)
    return get_pretrained_cfg(name.removeprefix(TIMM))


class RepeatChannels(nn.Module):
    """Give grey images (N, 1, H, W) three equal channels (N, 3, H, W)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)
