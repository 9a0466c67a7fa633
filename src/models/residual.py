"""A small residual network for small images, the one that the speed recipe trains."""

from torch import Tensor, nn

from src.core.errors import UserError
from src.data.prepared import ImageFormat
from src.models.layers import Activation, pooled


class Residual(nn.Module):
    """Add the output of its layers to their input (He et al., 2016, arXiv 1512.03385)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.layers(images)  # type: ignore[no-any-return]


def resnet9(image: ImageFormat, classes: int, dropout: float, activation: Activation) -> nn.Sequential:
    """Build eight convolutions of 64 to 512 channels and a linear layer: float32 images (N, C, H, W) to logits (N, K).

    After the network with which D. Page reached 94 % on CIFAR-10 in 2018 ("How to train your ResNet", DAWNBench),
    without the factor before its softmax.
    """
    if min(image.height, image.width) < 8:
        raise UserError(
            f"images of {image.height}×{image.width} pixels are too small for this network: it needs 8×8; choose "
            f"another model.name or set data.image_size"
        )

    def convolution(inputs: int, outputs: int, *then: nn.Module) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), *then)

    def residual(channels: int) -> Residual:
        return Residual(*(convolution(channels, channels, activation()) for _ in range(2)))

    features = nn.Sequential(
        convolution(image.channels, 64, activation()),
        convolution(64, 128, *pooled(activation)),
        residual(128),
        convolution(128, 256, *pooled(activation)),
        convolution(256, 512, *pooled(activation)),
        residual(512),
        # All that is left of the image. An adaptive pooling of the same window has no deterministic gradient on CUDA.
        nn.MaxPool2d((image.height // 8, image.width // 8)),
    )
    return nn.Sequential(features, nn.Flatten(), nn.Dropout(dropout), nn.Linear(512, classes))
