"""`models/model.safetensors`: the weights, and in its metadata all that is needed to use them. No pickle."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch.overrides import TorchFunctionMode

from src import params
from src.core.errors import UserError, out_of_memory
from src.core.files import replacing
from src.core.paths import DATASET, MODEL
from src.data.prepared import Dataset, ImageFormat
from src.models.build import build
from src.models.classifier import Classifier, Probabilities
from src.params.networks import TIMM


class Calibration(BaseModel):
    """Hold what `src.evaluation.calibration` fitted on validation images.

    temperature: divides the logits; None in old files, where none could be fitted. least: by coverage, the least
    probability with which a class counts as possible, so that the true class is possible in that share of the images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    temperature: Annotated[float, Field(gt=0)] | None
    least: Mapping[str, Annotated[float, Field(ge=0, le=1)]]


class ModelSpec(BaseModel):
    """Describe the network of the weights, its images and classes.

    `mean` and `std` are those of the training images, per channel, in [0, 1]. `calibration` is None without validation
    images, and in old files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: params.Model
    classes: Annotated[Sequence[str], Field(min_length=1)]
    image: ImageFormat
    mean: Sequence[float]
    std: Sequence[float]
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not len(self.mean) == len(self.std) == self.image.channels:
            raise ValueError("mean and std must have a value for each channel")
        return self

    @classmethod
    def of(cls, model: params.Model, dataset: Dataset) -> Self:
        """Describe a network for the classes and images of a prepared data set."""
        return cls(model=model, classes=dataset.classes, image=dataset.image, mean=dataset.mean, std=dataset.std)

    def check(self, dataset: Dataset) -> None:
        """Raise `UserError` if a prepared data set has other images or classes than the network was trained for."""
        if (self.image, list(self.classes)) != (dataset.image, dataset.classes):
            raise UserError(
                f"{MODEL} was trained for other classes or images than {DATASET} has: run dvc repro, which trains again"
            )

    @property
    def temperature(self) -> float | None:
        """Return the fitted temperature, if there is one."""
        return None if self.calibration is None else self.calibration.temperature

    def probabilities(self, classifier: Classifier) -> Probabilities:
        """Return the module that turns images into probabilities, calibrated if the model is."""
        return Probabilities(classifier, self.temperature or 1.0)

    def build(self, seed: int | None = None) -> Classifier:
        """Build the classifier with untrained weights, drawn from torch's global random state, which `seed` sets."""
        if seed is not None:
            torch.manual_seed(seed)
        return build(self.model, self.image, len(self.classes), self.mean, self.std)


class Shapes(TorchFunctionMode):
    """Within the block, build layers whose weights have a shape and no content, on torch's device meta.

    `torch.device("meta")` would not do: regnets compute their widths with tensors.
    """

    _EMPTY = (torch.empty, torch.zeros, torch.ones)  # with which layers make their weights

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        device = {"device": "meta"} if func in self._EMPTY else {}
        return func(*args, **{**(kwargs or {}), **device})


def save(path: Path, classifier: Classifier, spec: ModelSpec) -> None:
    """Write weights and spec; equal weights give an identical file."""
    with replacing(path) as temporary:
        temporary.write_bytes(content(classifier, spec))  # safetensors' own writing has no OSError for a full disk


def content(classifier: Classifier, spec: ModelSpec) -> bytes:
    """Return the bytes of the file of weights and spec. Their MD5 is the model's identity."""
    # Copies, since layers may share weights, and safetensors wants other memory for every name.
    weights = {
        name: tensor.cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in classifier.state_dict().items()
    }
    return serialize(weights, metadata={"spec": json.dumps(spec.model_dump(), ensure_ascii=False)})


def load(path: Path) -> tuple[Classifier, ModelSpec]:
    """Return the classifier on the CPU, in evaluation mode, and its spec. Raises `UserError` for any other file."""
    if not path.is_file():
        raise UserError(f"{path} is missing: run dvc repro, or dvc pull where a remote has it")
    try:
        with safe_open(path, framework="pt") as file:
            spec = ModelSpec.model_validate_json((file.metadata() or {}).get("spec", ""))
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        # All weights are in the file: none is downloaded, and none is drawn.
        untrained = spec.model_copy(update={"model": spec.model.model_copy(update={"weights": "none"})})
        with Shapes():
            classifier = untrained.build()
        classifier.load_state_dict(weights, assign=True)
        if spec.model.name.startswith(TIMM):  # which compute tables when they are built that are not in the file
            classifier = untrained.build()
            classifier.load_state_dict(weights, assign=True)
    except (UserError, SafetensorError, RuntimeError, ValueError) as error:
        if out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} is not a complete model of this repository, or of another version: {reason}") from None
    return classifier.eval(), spec
