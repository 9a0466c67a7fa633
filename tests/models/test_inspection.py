"""Layers, receptive fields and feature maps, compared with what gradients reach and the network computes."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from network_samples import untrained
from torch import Tensor, nn

from src.core.errors import UserError
from src.models.inspection import inspect_network, table
from src.models.receptive import Field, receptive_fields


def linearised(network: nn.Module) -> nn.Module:
    """Return a network of the same reach with positive gradients: mean-pooling, weights of 1, without activations."""
    network = copy.deepcopy(network).double().eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            network.set_submodule(name, nn.AvgPool2d(module.kernel_size, module.stride, module.padding))
        elif isinstance(module, (nn.ReLU, nn.BatchNorm2d)):
            network.set_submodule(name, nn.Identity())
        elif isinstance(module, nn.Conv2d):
            module.weight.data.fill_(1.0)
    return network


def by_gradient(network: nn.Module, layer: str, channels: int, size: int) -> tuple[tuple[int, int], list[list[int]]]:
    """Return the position of a layer's middle unit, and the first and last row and column that its gradient reaches."""
    seen: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _, __, output: seen.append(output))
    image = torch.ones(1, channels, size, size, dtype=torch.float64, requires_grad=True)
    network(image)
    handle.remove()
    height, width = seen[0].shape[2:]
    unit = ((height - 1) // 2, (width - 1) // 2)
    (gradient,) = torch.autograd.grad(seen[0][0, :, *unit].sum(), image)
    reached = gradient[0].abs().sum(dim=0).nonzero()
    return unit, [reached.amin(dim=0).tolist(), reached.amax(dim=0).tolist()]


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [
        ("cifar_basic", 32, ["features.0.0", "features.1.0", "features.2.0", "features.2.1"]),
        ("fashion_net", 28, ["features.0.0", "features.1.0", "features.1.1"]),
        ("mnist_convnet", 28, ["features.0.0", "features.1.0", "features.1.1"]),
        ("cifar_vgg", 48, ["features.0.3", "features.1.0", "features.2.0", "features.2.3", "features.2.4"]),
        pytest.param(
            "resnet18",
            224,
            ["conv1", "maxpool", "layer1.0.conv1", "layer2.1.conv2", "layer3.0.downsample.0"],
            marks=pytest.mark.slow,
        ),
        ("timm/tf_efficientnet_lite0", 65, ["conv_stem", "blocks.1.0.conv_dw", "blocks.2.1.bn2"]),
        pytest.param("googlenet", 224, ["inception3a.branch2.1.conv", "inception3b.branch4.0"], marks=pytest.mark.slow),
    ],
)
def test_receptive_fields_are_what_gradients_reach(name: str, size: int, layers: Sequence[str]) -> None:
    network = untrained(name, size, 3).network
    fields = receptive_fields(network, 3, size, size)
    linear = linearised(network)
    for layer in layers:
        (row, column), (first, last) = by_gradient(linear, layer, 3, size)
        low, high, step = fields[layer]
        assert first == [max(0, low[0] + row * step[0]), max(0, low[1] + column * step[1])], layer
        assert last == [min(size - 1, high[0] + row * step[0]), min(size - 1, high[1] + column * step[1])], layer


def test_windows_of_every_kind() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, (3, 1), stride=(2, 1), padding=(1, 0)),
        nn.Conv2d(2, 2, 3, dilation=2, padding="same"),
        nn.Conv2d(2, 2, (1, 4), padding="valid"),
    )
    fields = receptive_fields(network, 1, 20, 20)
    assert fields["0"] == Field((-1, 0), (1, 0), (2, 1))
    assert fields["1"] == Field((-5, -2), (5, 2), (2, 1))
    assert fields["2"] == Field((-5, -2), (5, 5), (2, 1))


def test_a_gate_that_pools_the_whole_image_sees_all_of_it() -> None:
    fields = receptive_fields(untrained("mobilenet_v3_small", 64, 3).network, 3, 64, 64)
    assert fields["features.0.0"].size == (3, 3)
    assert fields["features.12.0"] == Field((0, 0), (63, 63), (0, 0))


def test_what_is_not_known_is_left_out() -> None:
    vit = receptive_fields(untrained("vit_b_16", 32, 3).network, 3, 32, 32)
    assert vit["conv_proj"].size == (16, 16)
    assert not any("mlp" in name for name in vit)

    class Untraceable(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images if images.sum() > 0 else -images

    assert receptive_fields(Untraceable(), 1, 8, 8) == {}


@pytest.mark.parametrize(
    ("name", "size", "channels", "convolutions"),
    [("cifar_basic", 32, 3, 3), ("fashion_net", 28, 1, 2), ("mnist_convnet", 28, 1, 2), ("cifar_vgg", 32, 3, 6),
     ("resnet18", 64, 1, 20)],
)  # fmt: skip
def test_inspection(name: str, size: int, channels: int, convolutions: int) -> None:
    model = untrained(name, size, channels)
    image = np.random.default_rng(0).integers(256, size=(size, size, channels), dtype=np.uint8)
    found = inspect_network(model, image, 3, 2)
    assert found.parameters == sum(layer.parameters for layer in found.layers)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert len(found.means) == convolutions
    assert found.layers[-1].output == (10,)
    assert all(layer.field for layer in found.layers)
    first, second = found.kernels
    assert first.shape[1] == (channels if name != "resnet18" else 3)  # grey images are given three equal channels
    assert second.shape[:2] == (found.maps.shape[1], first.shape[0])
    assert found.chosen == list(found.means)[1]
    np.testing.assert_allclose(found.maps.mean(axis=1), found.means[found.chosen], atol=1e-6)


def test_cifar_vgg_is_the_published_one() -> None:
    found = inspect_network(untrained("cifar_vgg", 32, 3), np.zeros((32, 32, 3), np.uint8), 0, 1)
    assert found.parameters == 5_852_170
    assert round(found.size / 2**20, 2) == 22.33
    rows = table(found.layers)
    assert list(rows.columns) == ["name", "kind", "output", "parameters", "receptive_field"]
    assert rows.iloc[0].tolist() == ["features.0.0", "conv 3×3", "32×32×32", 896, "3×3"]


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"visualize\.layer is 4, but the network has 3 convolutions"):
        inspect_network(untrained("cifar_basic", 8, 1), np.zeros((8, 8, 1), np.uint8), 1, 4)
