"""The network of airbench and its whitening layer, by known values."""

import numpy as np
import torch
from network_samples import untrained
from numpy.typing import NDArray
from torch import nn
from training_samples import CPU, section

from src.compute.batches import Batches
from src.data.prepared import LabelledImages
from src.models.airbench import whitening_layer
from src.models.classifier import Classifier
from src.training.loop import train
from src.training.whitening import fit_whitening


def airbench() -> Classifier:
    return untrained("airbench")


def smooth_images(count: int) -> NDArray[np.uint8]:
    """Noise (count, 32, 32, 3) whose neighbours and channels resemble each other."""
    noise = np.random.default_rng(0).normal(size=(count, 33, 33, 3))
    mixed = noise[:, 1:, 1:] + noise[:, :-1, 1:] + noise[:, 1:, :-1] + noise.mean(axis=3, keepdims=True)[:, 1:, 1:]
    images: NDArray[np.uint8] = np.clip(128 + 30 * mixed, 0, 255).astype(np.uint8)
    return images


def batches(images: NDArray[np.uint8]) -> Batches:
    return Batches(LabelledImages(images, np.arange(len(images)) % 10), CPU.device)


def layer_of(classifier: Classifier) -> nn.Conv2d:
    layer = whitening_layer(classifier.network)
    assert layer is not None
    return layer


def test_the_network_has_the_published_size() -> None:
    network = airbench().network
    convolutions = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]
    learned = 24 + sum(9 * inputs * outputs + outputs for inputs, outputs in convolutions) + 256 * 10
    fixed = 24 * 12 + sum(outputs for _, outputs in convolutions)  # whitening, and the weights of batch norm
    assert sum(weight.numel() for weight in network.parameters() if weight.requires_grad) == learned
    assert sum(weight.numel() for weight in network.parameters()) == learned + fixed == 1_972_792


def test_whitened_patches_have_the_second_moments_of_white_noise() -> None:
    classifier, images = airbench(), smooth_images(64)
    fit_whitening(classifier, batches(images))
    layer = layer_of(classifier)
    with torch.no_grad():
        bias = layer.bias[None, :, None, None]  # type: ignore[index]
        outputs = layer(classifier.normalize(torch.from_numpy(images))) - bias
        first, second = outputs.transpose(0, 1).flatten(1).chunk(2)
    torch.testing.assert_close(first @ first.T / first.shape[1], torch.eye(12), atol=0.01, rtol=0)
    torch.testing.assert_close(second, -first)
    assert not layer.weight.requires_grad
    assert layer.bias is not None
    assert layer.bias.requires_grad


def test_training_whitens_by_its_images_and_keeps_the_weights() -> None:
    images = smooth_images(16)
    expected = airbench()
    fit_whitening(expected, batches(images))
    classifier = airbench()
    data = batches(images)
    assert len(list(train(classifier, data, data, section(epochs=1, batch_size=8), 0, CPU))) == 1
    assert torch.equal(layer_of(classifier).weight, layer_of(expected).weight)
    assert not torch.equal(layer_of(classifier).bias, layer_of(expected).bias)  # type: ignore[arg-type]


def test_convolutions_begin_with_the_identity() -> None:
    convolutions = [layer for layer in airbench().network.modules() if isinstance(layer, nn.Conv2d)][1:]
    for layer in convolutions:
        features = torch.randn(2, layer.in_channels, 6, 6)
        torch.testing.assert_close(layer(features)[:, : layer.in_channels], features)
