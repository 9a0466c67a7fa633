"""Build a classifier from `params.Model`."""

from collections.abc import Callable, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src import params
from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.airbench import airbench
from src.models.classifier import Classifier, Normalize, Resize
from src.models.layers import ACTIVATIONS, Activation, last_layer
from src.models.small import cifar_basic, cifar_vgg, fashion_net, mnist_convnet

NETWORKS: dict[str, Callable[[ImageFormat, int, float, Activation], nn.Sequential]] = {
    network.__name__: network for network in (cifar_basic, fashion_net, mnist_convnet, cifar_vgg, airbench)
}

_GELU = ("airbench",)  # published with it; the other small networks with ReLU

# Mean and standard deviation of ImageNet's training images, as torchvision's pretrained networks expect them.
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def build(
    model: params.Model, image: ImageFormat, classes: int, mean: Sequence[float], std: Sequence[float]
) -> Classifier:
    """Build a classifier for `classes` classes, its weights drawn from torch's global random state.

    mean, std: of the training images per channel, in [0, 1]; only used if `model.normalize` is `dataset`.
    Raises `UserError` if the network cannot take these images or its trained weights cannot be had.
    """
    resize = None
    if model.normalize == "backbone":
        from src.models.pretrained import timm_config  # importing timm takes 3 s, torchvision 2

        config = timm_config(model.name)
        stored, size = (image.height, image.width), config.input_size[1:]
        if stored != size:
            resize = Resize(stored, size, config.interpolation)
            image = image.model_copy(update={"height": size[0], "width": size[1]})  # as the network sees it
        mean, std = _for_channels(image.channels, config.mean, config.std)
    elif isinstance(model.normalize, params.Constants):
        mean, std = model.normalize.mean, model.normalize.std
    elif model.normalize == "dataset":
        std = [value or 1.0 for value in std]  # a channel that never varies has no spread to divide by
    elif model.normalize == "imagenet":
        mean, std = _for_channels(image.channels, *_IMAGENET)
    else:
        mean, std = ([0.5], [0.5]) if model.normalize == "half" else ([0.0], [1.0])
    if len(mean) not in (1, image.channels):
        raise UserError(
            f"model.normalize has {len(mean)} values and the images {image.channels} channels: give one for each"
        )
    repeat = image.channels // len(mean)
    normalize = Normalize(list(mean) * repeat, list(std) * repeat, resize)

    if model.name in NETWORKS:
        activation = ACTIVATIONS[model.activation or ("gelu" if model.name in _GELU else "relu")]
        network: nn.Module = NETWORKS[model.name](image, classes, model.dropout, activation)
    else:
        from src.models.pretrained import pretrained_network

        network = pretrained_network(model, image, classes)
    if model.freeze == "batch_norm":  # `Classifier.train` then keeps their running statistics, too
        for layer in network.modules():
            if isinstance(layer, _BatchNorm):
                layer.requires_grad_(False)
    elif model.freeze:
        network.requires_grad_(False)
        last_layer(network)[1].requires_grad_()
    return Classifier(network, normalize)


def _for_channels(channels: int, *values: Sequence[float]) -> list[Sequence[float]]:
    """Return values for red, green and blue: as they are for colour images, their mean for grey images."""
    return [each if channels == 3 else [sum(each) / len(each)] for each in values]
