"""Networks: the published layers, any shape, any classifier of torchvision, and the model file."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from figure_results import dataset
from network_samples import image_format, model_section
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.tutorials import TUTORIALS
from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.build import build
from src.models.layers import ACTIVATIONS
from src.models.model_file import ModelSpec, load, save
from src.params import Activation
from src.params.networks import SMALL
from src.params.training import Plain
from src.training.optimizers import optimizer

ACTIVATION_CLASSES = tuple(type(make()) for make in ACTIVATIONS.values())
CIFAR = image_format(32, 32, 3)
MNIST = image_format(28, 28, 1)


@pytest.mark.parametrize(
    ("name", "published", "image", "dropout"),
    [
        ("cifar_basic", "cifar10-basic", CIFAR, 0.0),
        ("fashion_net", "fashion-mnist", MNIST, 0.2),
        ("mnist_convnet", "mnist", MNIST, 0.5),
        ("cifar_vgg", "cifar10-vgg", CIFAR, 0.1),
    ],
)
def test_the_network_is_the_published_one(name: str, published: str, image: ImageFormat, dropout: float) -> None:
    """Same weights, same outputs; and the same dropout layers between the same weights."""
    ours = build(model_section(name, dropout=dropout), image, 10, [0.5], [0.5]).network
    theirs = TUTORIALS[published].network()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(8, image.channels, image.height, image.width)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))
    if dropout:
        positions = [weights_before(network) for network in (ours, theirs)]
        assert positions[0] == positions[1]


def weights_before(network: nn.Module) -> list[tuple[int, str, float]]:
    """Return for each dropout layer how many layers with weights come before it, its kind and its probability."""
    found, weights = [], 0
    for layer in network.modules():
        weights += isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            found.append((weights, type(layer).__name__, layer.p))
    return found


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("image", "classes"), [(image_format(9, 9, 1), 2), (image_format(33, 20, 3), 100)])
def test_small_networks_take_any_shape(name: str, image: ImageFormat, classes: int) -> None:
    classifier = build(model_section(name), image, classes, [0.5], [0.5]).eval()
    images = torch.zeros(3, image.height, image.width, image.channels, dtype=torch.uint8)
    assert classifier(images).shape == (3, classes)


def test_images_that_are_too_small_are_told_the_smallest_size() -> None:
    with pytest.raises(UserError, match="7×32 pixels are too small for this network: it needs 8×8"):
        build(model_section("cifar_basic"), image_format(7, 32, 3), 10, [0.5], [0.5])


@pytest.mark.parametrize("name", ["alexnet", "vit_b_32"])
def test_images_that_a_network_of_torchvision_cannot_take_are_one_line(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} cannot take images of 8×8 pixels .*data\.image_size, for example"):
        build(model_section(name), image_format(8, 8, 3), 2, [0.5], [0.5])


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("none", 100 / 255),
        ("half", (100 / 255 - 0.5) / 0.5),
        ("dataset", (100 / 255 - 0.25) / 0.2),
        ("imagenet", (100 / 255 - 0.485) / 0.229),
        ({"mean": [0.1], "std": [0.3]}, (100 / 255 - 0.1) / 0.3),
    ],
)
def test_normalisation_by_name_and_by_numbers(normalize: object, expected: float) -> None:
    classifier = build(model_section("cifar_basic", normalize=normalize), CIFAR, 2, [0.25, 0.3, 0.4], [0.2] * 3)
    pixels: Tensor = classifier.normalize(torch.full((1, 32, 32, 3), 100, dtype=torch.uint8))
    assert pixels.shape == (1, 3, 32, 32)
    torch.testing.assert_close(pixels[0, 0], torch.full((32, 32), expected))


def test_normalisation_for_other_channels_is_refused() -> None:
    with pytest.raises(UserError, match="has 3 values and the images 1 channels"):
        build(model_section("cifar_basic", normalize={"mean": [0.1] * 3, "std": [0.3] * 3}), MNIST, 2, [0.5], [0.5])


def spec(name: str = "cifar_vgg") -> ModelSpec:
    classes = ["0", 'no, "really"', "дом"]
    return ModelSpec(
        model=model_section(name, dropout=0.1), classes=classes, image=CIFAR, mean=[0.5] * 3, std=[0.2] * 3
    )


def test_a_model_of_other_images_or_classes_than_those_that_are_prepared_is_told() -> None:
    prepared = dataset(list(spec().classes), CIFAR, {"test": []})
    spec().check(prepared)
    for change in {"image": MNIST}, {"classes": ["a", "b", "c"]}:
        with pytest.raises(UserError, match=r"was trained for other classes or images than .* has: run dvc repro"):
            spec().check(prepared.model_copy(update=change))


@pytest.mark.parametrize("damage", ["truncated", "other", "no spec", "missing"])
def test_a_file_that_is_no_complete_model_is_told_in_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(path, spec("cifar_basic").build(), spec("cifar_basic"))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage == "other":
        save_file({"weight": torch.zeros(3)}, path, metadata={"spec": spec("cifar_vgg").model_dump_json()})
    elif damage == "no spec":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        path.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is (not a complete model|missing)"):
        load(path)


def most_memory() -> int:
    """Return the most bytes of memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 2**10
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    "change",
    [
        {"image": {"height": 4096, "width": 4096, "channels": 3, "resize": None}},  # weights of 32 GiB
        {"image": {"height": 32, "width": 32, "channels": 0, "resize": None}, "mean": [], "std": []},
        {"image": {"height": 2, "width": 2, "channels": 3, "resize": None}},
        {"std": [0.2, 0.2]},
        {"mean": [0.5, 0.5, "NaN"]},
        {"classes": []},
        {"model": {"name": "vit_h_14", "weights": "none", "freeze": False, "activation": None, "dropout": 0.1,
                   "normalize": "half"}},
    ],
)  # fmt: skip
def test_a_spec_that_asks_for_too_much_takes_no_memory(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = {**spec("cifar_basic").model_dump(), **change}
    save_file(spec("cifar_basic").build().state_dict(), path, metadata={"spec": json.dumps(content)})
    before = most_memory()
    with pytest.raises(UserError, match=r"model\.safetensors is not a complete model"):
        load(path)
    assert most_memory() - before < 2**28


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("name", SMALL)
def test_an_activation_stands_before_pooling_or_commutes_with_it(name: str, activation: Activation) -> None:
    """Outputs are those of the published order: convolution, activation, pooling."""
    image = image_format(16, 16, 3)
    ours = build(model_section(name, activation=activation), image, 10, [0.5], [0.5]).network.eval()
    layers = [layer for layer in ours.modules() if not list(layer.children())]
    for position, layer in enumerate(layers[:-1]):
        if isinstance(layer, nn.MaxPool2d) and isinstance(layers[position + 1], ACTIVATION_CLASSES):
            layers[position : position + 2] = [layers[position + 1], layer]
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(ours(images), nn.Sequential(*layers)(images))
    assert {type(layer) for layer in layers if isinstance(layer, ACTIVATION_CLASSES)} == {
        type(ACTIVATIONS[activation]())
    }


@pytest.mark.parametrize("freeze", [True, "batch_norm"])
def test_what_is_frozen_learns_nothing(freeze: bool | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(build(model_section("resnet18"), CIFAR, 1000, [0.5], [0.5]).network.state_dict(), "weights.pth")
    model = model_section("resnet18", dropout=0.5, weights="weights.pth", freeze=freeze)
    classifier = build(model, CIFAR, 2, [0.5], [0.5]).train()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    values = {"name": "adam", "lr": 1e-2, "weight_decay": 0.1}
    optimiser = optimizer(Plain.model_validate(values), classifier, True)
    classifier(torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)).sum().backward()
    optimiser.step()
    changed = {name for name, tensor in classifier.state_dict().items() if not torch.equal(tensor, before[name])}
    learned = {"network.fc.1.weight", "network.fc.1.bias"}
    if freeze == "batch_norm":
        norms = {name for name, layer in classifier.named_modules() if isinstance(layer, nn.BatchNorm2d)}
        learned = {name for name in before if name.rpartition(".")[0] not in norms}
    assert changed == learned  # never batch norm's running statistics
    assert any(layer.training for layer in classifier.modules() if isinstance(layer, nn.Dropout))
