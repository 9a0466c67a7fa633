"""Explain a decision by a map of what it rests on, laid over the photo as the model saw it.

Grad-CAM (Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", 2017)
takes one pass forward and one backward, and is as coarse as the network's last feature map.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from src.figures.sheet import Tile, sheet
from src.figures.style import add_fonts, percent, short
from src.models.classifier import Classifier
from src.prediction.model import Model
from src.prediction.photos import Pixels

_INCHES = 2.4
NO_MAP = "Grad-CAM needs a network that ends with a feature map, and this one ends with tokens, as transformers do"


class _LastMap(TorchFunctionMode):
    """Keep the last feature map (N, C, H, W) that has the height and width of the last convolution's output.

    In any network it lies behind activations and sums, and before the pooling. Convolutions of a single pixel do not
    count: they weight channels after a pooling. A mode, unlike hooks, sees nothing of other threads.
    """

    found: Tensor
    size: torch.Size | None = None
    tokens = False  # if later layers take the map's pixels as a list, as transformers do

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and output.ndim == 4:
            if func is F.conv2d and output.shape[2:].numel() > 1:
                self.size = output.shape[2:]
            if output.shape[2:] == self.size:
                self.found, self.tokens = output, False
        if func is F.linear and args[0].ndim > 2:
            self.tokens = True
        return output


def explains(model: Model) -> bool:
    """Tell if the network ends with a feature map, as Grad-CAM needs. Transformers and mixers end with tokens."""
    image = model.spec.image
    with _LastMap() as last:
        model.probabilities(np.zeros((1, image.height, image.width, image.channels), np.uint8))
    return not last.tokens


def grad_cam(model: Model, image: Pixels, label: int) -> NDArray[np.float64]:
    """Map (H, W), at most 1, which parts of `image` (H, W, C) speak for class `label`, by the gradient of its logit.

    The model must be one that `explains`.
    """
    classifier = model.module.get_submodule("classifier")
    assert isinstance(classifier, Classifier)
    pixels = classifier.normalize(torch.from_numpy(image[np.newaxis]).to(model.device))
    with _LastMap() as last:
        logits = classifier.network(pixels.requires_grad_())  # the weights may be frozen
    (gradient,) = torch.autograd.grad(logits[0, label], last.found)
    weighted = (gradient.mean(dim=(2, 3), keepdim=True) * last.found).sum(dim=1, keepdim=True).relu()
    enlarged = F.interpolate(weighted.detach(), image.shape[:2], mode="bilinear")[0, 0].double().cpu().numpy()
    scaled: NDArray[np.float64] = enlarged / max(float(enlarged.max()), 1e-12)
    return scaled


def explain(path: Path, model: Model, image: Pixels, probabilities: NDArray[np.float32], name: str) -> None:
    """Write a PNG of the photo as the model saw it, and of the map for its most probable class laid over it."""
    label = int(probabilities.argmax())
    chosen = model.spec.classes[label]
    tiles = [
        Tile(image, ["what the model saw"], _INCHES),
        Tile(laid_over(image, grad_cam(model, image, label)), ["Grad-CAM"], _INCHES),
    ]
    caption = f"The redder, the more features there speak for “{chosen}”."
    add_fonts([name, chosen])
    title = f"{short(name, 48)}: {short(chosen, 48)}, {percent(float(probabilities[label]), 1)}"
    sheet(path, [[tile] for tile in tiles], title, caption, columns=len(tiles), image_inches=_INCHES)


def laid_over(image: Pixels, scaled: NDArray[np.float64]) -> Pixels:
    """Return the image in grey, coloured by a map (H, W) in [0, 1]: grey at 0, the redder the higher."""
    grey = np.broadcast_to(image.mean(axis=2, keepdims=True), (*image.shape[:2], 3))
    colours = 255 * colormaps["RdBu_r"]((scaled + 1) / 2)[..., :3]  # its upper half is red
    share = 0.8 * scaled[..., np.newaxis]
    laid: Pixels = (share * colours + (1 - share) * grey).round().astype(np.uint8)
    return laid
