"""Maps of what a decision rests on, for networks whose decisions are understood."""

import numpy as np
import pytest
import torch
from network_samples import image_format, model_section
from prediction_samples import make_model
from torch import nn

from src.core.paths import MODEL
from src.data.prepared import ImageFormat
from src.models.classifier import Classifier, Normalize, Probabilities
from src.models.model_file import ModelSpec
from src.prediction.explanation import explains, grad_cam
from src.prediction.model import Model, load

COLOUR = ImageFormat(height=24, width=24, channels=3, resize="crop")
CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("root")


class NotDeterministic(torch.nn.Module):
    """Give each class the same probability, by an operator that torch cannot compute deterministically."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        where, halves = torch.arange(2 * len(images)), torch.full((2 * len(images),), 0.5)
        return torch.zeros(len(images), 2).put_(where, halves)


def test_a_model_that_only_trains_without_determinism_predicts(recwarn: pytest.WarningsRecorder) -> None:
    make_model(COLOUR, ["black", "white"])
    model = load(str(MODEL))._replace(module=NotDeterministic())
    assert model.probabilities(np.zeros((3, 24, 24, 3), np.uint8)).tolist() == [[0.5, 0.5]] * 3
    assert not recwarn


def test_grad_cam_shows_where_the_features_of_a_class_are() -> None:
    """Class 0 counts dark pixels, class 1 bright ones, in an image with a bright corner."""
    convolution, linear = nn.Conv2d(1, 2, 1), nn.Linear(2, 2)
    convolution.load_state_dict({"weight": torch.tensor([-1.0, 1.0])[:, None, None, None], "bias": torch.zeros(2)})
    linear.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
    network = nn.Sequential(convolution, nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = Classifier(nn.Sequential(network, linear), Normalize([0.5], [0.5]))
    make_model(COLOUR, ["dark", "bright"])
    model = Model(Probabilities(classifier.requires_grad_(False)), load(str(MODEL)).spec, CPU)
    image = np.zeros((24, 24, 1), np.uint8)
    image[:8, 16:] = 255
    corner = image[..., 0] == 255
    np.testing.assert_array_equal(grad_cam(model, image, 1), corner)
    np.testing.assert_array_equal(grad_cam(model, image, 0), ~corner)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mnist_convnet", 28),
        ("cifar_vgg", 32),
        ("airbench", 32),
        ("resnet18", 64),
        ("densenet121", 64),
        ("timm/tf_efficientnet_lite0", 64),
    ],
)
def test_grad_cam_maps_what_any_network_sees(name: str, size: int) -> None:
    """The map changes with the mirrored image, also if all weights are frozen."""
    image = image_format(size, size, 3)
    spec = ModelSpec(model=model_section(name), classes=["cat", "dog"], image=image, mean=[0.5] * 3, std=[0.2] * 3)
    classifier = spec.build(seed=0).eval().requires_grad_(False)
    model = Model(spec.probabilities(classifier), spec, CPU)
    assert explains(model)
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    pixels[:, : size // 2] //= 8
    maps = [grad_cam(model, each, label) for each in (pixels, pixels[:, ::-1].copy()) for label in (0, 1)]
    for found in maps:
        assert found.shape == (size, size)
        assert (found >= 0).all()
    assert max(found.max() for found in maps) == pytest.approx(1)
    assert max(np.abs(maps[label] - maps[label + 2]).max() for label in (0, 1)) > 0.05


@pytest.mark.parametrize("name", ["swin_t", "vit_b_32", "timm/vit_tiny_patch16_224"])
def test_transformers_end_with_no_map(name: str) -> None:
    """Their only map is that of the patches, before all that the network learns of the image as a whole."""
    spec = ModelSpec(
        model=model_section(name), classes=["a", "b"], image=image_format(224, 224, 3), mean=[0.5] * 3, std=[0.2] * 3
    )
    assert not explains(Model(spec.probabilities(spec.build(seed=0).eval()), spec, CPU))
