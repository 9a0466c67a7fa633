"""All maps of `params.yaml`, in the order of the file, and the values that must agree between them."""

import difflib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from src.params.fields import Ascending, Config, Count, CountOrZero, Positive, Seed, Share
from src.params.networks import SMALL, TIMM, TORCHVISION
from src.params.training import Train


class Data(Config):
    name: Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "image_folder"]
    title: Annotated[str, Field(pattern=r"^\w[\w .-]{0,99}$")] | None
    source: Annotated[str, Field(min_length=1)] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    image_size: Annotated[int, Field(ge=1, le=4096)] | None
    resize: Literal["crop", "squash", "pad"]
    limit: Count | None
    skip_unreadable: bool
    max_gib: Positive
    max_megapixels: Positive

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.name == "digits" and self.source is not None:
            raise ValueError("source must be null with the data set digits, which is embedded")
        if self.sha256 and self.source is None and self.name != "image_folder":
            raise ValueError("sha256 pins source, which is null: the data set's own files have their checksums")
        return self

    @property
    def display_name(self) -> str:
        """Return the name that people see: on the page, in MLflow's experiments and in its model registry."""
        return self.title or self.name


def _regular_expression(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from error
    return value


class Split(Config):
    seed: Seed
    validation: Share
    test: Share
    validation_from_test: CountOrZero
    groups: Annotated[str, AfterValidator(_regular_expression)] | None
    near_duplicates: Literal["together", "ignore"]
    shard_mib: Positive

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must be less than 1, not {self.validation + self.test:g}")
        if self.validation and self.validation_from_test:
            raise ValueError("validation must be 0 where validation_from_test takes the validation images")
        return self


class Constants(Config):
    """Hold a number for each channel, or one for all, for pixels in [0, 1]."""

    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[Positive], Field(min_length=1)]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std must have the same length")
        return self


Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu"]


def _network_name(value: Any) -> Any:
    if isinstance(value, str) and value not in (*SMALL, *TORCHVISION) and not re.fullmatch(rf"{TIMM}[\w.-]+", value):
        close = difflib.get_close_matches(value, (*SMALL, *TORCHVISION), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"must be {', '.join(SMALL)}, a classifier of torchvision.models, or timm/NAME{hint}")
    return value


class Model(Config):
    name: Annotated[str, BeforeValidator(_network_name)]
    weights: Annotated[str, Field(min_length=1)]
    freeze: bool | Literal["batch_norm"]
    activation: Activation | None
    dropout: Share
    normalize: Literal["dataset", "imagenet", "half", "none", "backbone"] | Constants

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.weights != "none" and self.name in SMALL:
            raise ValueError(f"weights: {self.name} has no pretrained weights: set none")
        if self.freeze and self.weights == "none":
            raise ValueError("freeze: without pretrained weights there is nothing to keep; set it to false")
        if self.activation is not None and self.name not in SMALL:
            raise ValueError(f"activation must be null with {self.name}, which keeps its own")
        if self.normalize == "backbone" and not self.name.startswith(TIMM):
            raise ValueError("normalize: backbone is known of timm's networks alone: set imagenet")
        return self


Strengths = Annotated[list[Positive], Ascending]
Shares = Annotated[list[Annotated[float, Field(gt=0, le=1)]], Ascending]


class Robustness(Config):
    images: Count | None
    shifts: CountOrZero
    noise: Strengths
    salt_pepper: Shares
    fgsm: Shares


class Evaluate(Config):
    tta: Literal["none", "flip", "flip_diagonal"]
    robustness: Robustness


class Visualize(Config):
    samples: Annotated[int, Field(ge=1, le=100)]
    mistakes: Annotated[int, Field(ge=1, le=100)]
    image: CountOrZero
    layer: Count
    shift: CountOrZero


Scalar = None | bool | int | float | str


class Range(Config):
    """Hold a range with both its ends. `step` counts from `low`; with `log`, equal ratios are equally likely."""

    low: int | float
    high: int | float
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be less than high")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 with log: true")
        if self.step is not None and (self.log or self.step > self.high - self.low):
            raise ValueError("step must be at most high - low, and without log: true")
        return self

    def words(self) -> str:
        extra = (", log: true" if self.log else "") + (f", step: {self.step}" if self.step is not None else "")
        return f"{{low: {self.low}, high: {self.high}{extra}}}"


def _distinct(values: list[Scalar]) -> list[Scalar]:
    if len(set(values)) < len(values):
        raise ValueError("choices must differ")
    return values


class Choices(Config):
    choices: Annotated[list[Scalar], Field(min_length=2), AfterValidator(_distinct)]

    def words(self) -> str:
        return f"{{choices: {json.dumps(self.choices, ensure_ascii=False)}}}"


def _kind(value: Any) -> str:
    return "choices" if isinstance(value, Choices) or (isinstance(value, dict) and "choices" in value) else "range"


Dimension = Annotated[Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)]

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Return `90s`, `30m` or `1.5h` as seconds. Raises `ValueError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found or not float(found[1]):
        raise ValueError("must be a time above 0 such as 90s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def _duration(text: str) -> str:
    seconds(text)
    return text


class Confirm(Config):
    best: Annotated[int, Field(ge=0, le=50)]
    seeds: Annotated[int, Field(ge=5, le=1000)]


class Tune(Config):
    trials: Count
    timeout: Annotated[str, AfterValidator(_duration)] | None
    sampler: Literal["tpe", "random", "grid", "gp"]
    pruner: Literal["median", "hyperband", "none"]
    objective: Literal["accuracy", "loss"]
    epochs: Count | None
    space: Annotated[dict[str, Dimension], Field(min_length=1)]
    confirm: Confirm


class Report(Config):
    margin: Annotated[float, Field(gt=0, lt=100)]
    fail_on: Literal["never", "worse", "no-evidence"]


class Params(Config):
    seed: Seed
    data: Data
    split: Split
    model: Model
    train: Train
    evaluate: Evaluate
    visualize: Visualize
    tune: Tune
    report: Report

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not (self.split.validation or self.split.validation_from_test):
            if self.train.patience is not None:
                raise ValueError("train.patience needs validation images: set it to null, or split.validation above 0")
            if self.train.schedule.name == "plateau":
                raise ValueError("the schedule plateau needs validation images: set split.validation above 0")
        name = self.train.optimizer.name
        if self.model.freeze is True and name in ("muon", "muon_sgd"):
            raise ValueError(f"{name} trains hidden layers, of which model.freeze leaves none: use adamw")
        return self
