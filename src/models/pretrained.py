"""Networks of torchvision and timm, with a new last layer and, if wanted, trained weights."""

from typing import Any

import torch
from torch import Tensor, nn

from src import params
from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.layers import last_layer
from src.models.weights import load_weights
from src.params.networks import TIMM, check_timm

HEAD_SCALE = 0.01


def pretrained_network(model: params.Model, image: ImageFormat, classes: int) -> nn.Module:
    """Build the network that `model` names: images float32 (N, C, H, W) to logits (N, classes).

    Trained weights are taken for every layer but the last, which is new and starts nearly at zero: with large random
    weights, its first gradients would undo what the other layers have learned (for two classes timm draws such large
    ones for its EfficientNets that the first loss is 2.9). Grey images are given three equal channels. Raises
    `UserError` if the network cannot take images of this size, or weights cannot be had or do not fit.
    """
    images = torch.zeros(1, 3, image.height, image.width)
    try:
        network = random_network(model.name, image, classes)
        with torch.no_grad():
            if model.name == "alexnet" or model.name.startswith("vgg"):
                # Pooling to the size that features have already changes nothing, and on CUDA its gradient has no
                # deterministic kernel. Pooled, these networks take images of every size.
                features, pooling = network.get_submodule("features"), network.get_submodule("avgpool")
                if features(images).shape[2:] == pooling.output_size:
                    network.set_submodule("avgpool", nn.Identity())
            elif not next(network.parameters()).is_meta:  # which only has shapes: see `src.models.model_file.Shapes`
                network(images)  # many networks fail only when they compute
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"{model.name} cannot take images of {image.height}×{image.width} pixels ({reason}): "
            "set data.image_size, for example to 224"
        ) from None

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


def random_network(name: str, image: ImageFormat, classes: int) -> nn.Module:
    """Build a network with random weights, in evaluation mode; some families need to know the size of the images."""
    size = (image.height, image.width)
    options: dict[str, Any] = {}
    if name.startswith(TIMM):
        import timm

        config = timm_config(name)
        if not isinstance(config.classifier, str):
            raise UserError(f"model.name: {name} has several last layers, as distilled networks do: take another one")
        if config.fixed_input_size:
            options = {"img_size": size}
        network: nn.Module = timm.create_model(name.removeprefix(TIMM), num_classes=classes, **options)
    else:
        from torchvision.models import get_model

        if name.startswith("vit_"):
            options = {"image_size": image.height}
        elif name == "maxvit_t":
            options = {"input_size": size}
        elif name in ("inception_v3", "googlenet"):
            # Trained with pixels from −1 to 1, to which they bring what ImageNet's mean and std have made of them.
            options = {"aux_logits": False, "init_weights": True, "transform_input": True}
        network = get_model(name, weights=None, num_classes=classes, **options)
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
