"""`params.yaml` as typed, frozen objects. It alone decides a run: nothing here has a default.

    python -m src.params        checks the whole file

Functions elsewhere receive one section (`params.split`) or one value, never the whole file.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from src.faults import Fault, command
from src.model_names import SMALL, TORCHVISION
from src.paths import PARAMS, RECIPES


class Section(BaseModel):
    """Unknown keys, missing keys and values of another type are faults; nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Data(Section):
    name: Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "image_folder"]
    source: Annotated[str, Field(min_length=1)] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    image_size: Annotated[int, Field(ge=1, le=4096)] | None
    resize: Literal["crop", "squash", "pad"]
    limit: Count | None
    skip_unreadable: bool

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.name == "digits" and self.source is not None:
            raise ValueError("source must be null with the data set digits, which is embedded")
        return self


def _regular_expression(value: Any) -> Any:
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"must be a regular expression ({error})") from error
    return value


class Split(Section):
    seed: Seed
    validation: Share
    test: Share
    validation_from_test: Annotated[int, Field(ge=0)]
    groups: Annotated[str, BeforeValidator(_regular_expression)] | None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must be less than 1, not {self.validation + self.test:g}")
        if self.validation and self.validation_from_test:
            raise ValueError("validation must be 0 where validation_from_test takes the validation images")
        return self


class Constants(Section):
    """Per channel, for pixels in [0, 1]; one number serves every channel."""

    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[Positive], Field(min_length=1)]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std must have the same length")
        return self


Normalize = Annotated[
    Annotated[Literal["dataset", "imagenet", "half", "none"], Tag("name")] | Annotated[Constants, Tag("constants")],
    Discriminator(lambda value: "constants" if isinstance(value, dict | Constants) else "name"),
]


def _network_name(value: Any) -> Any:
    if isinstance(value, str) and value not in (*SMALL, *TORCHVISION):
        close = difflib.get_close_matches(value, (*SMALL, *TORCHVISION), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"must be {', '.join(SMALL)} or a classifier of torchvision.models{hint}")
    return value


class Model(Section):
    name: Annotated[str, BeforeValidator(_network_name)]
    weights: Annotated[str, Field(min_length=1)]
    dropout: Share
    normalize: Normalize

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.weights == "default" and self.name in SMALL:
            raise ValueError(f"weights: {self.name} has no pretrained weights; set none, or a file of your own")
        return self


class Sgd(Section):
    name: Literal["sgd"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Share
    nesterov: bool

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class Adam(Section):
    name: Literal["adam", "adamw"]
    lr: Positive
    weight_decay: NotNegative


class Constant(Section):
    name: Literal["constant"]


class Step(Section):
    name: Literal["step"]
    every: Count
    factor: Positive


class Cosine(Section):
    name: Literal["cosine"]
    warmup_epochs: NotNegative


class Augment(Section):
    flip: bool
    crop: Annotated[int, Field(ge=0)]
    rotate: Annotated[float, Field(ge=0, le=180)]
    scale: Share


class Train(Section):
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    precision: Literal["auto", "float32", "bfloat16"]
    deterministic: bool
    threads: Count
    epochs: Count
    patience: Count | None
    batch_size: Count
    label_smoothing: Share
    optimizer: Annotated[Sgd | Adam, Field(discriminator="name")]
    schedule: Annotated[Constant | Step | Cosine, Field(discriminator="name")]
    augment: Augment


class Visualize(Section):
    samples: Annotated[int, Field(ge=1, le=100)]
    mistakes: Annotated[int, Field(ge=1, le=100)]
    image: Annotated[int, Field(ge=0)]
    layer: Count
    shift: Annotated[int, Field(ge=0)]


class Params(Section):
    seed: Seed
    data: Data
    split: Split
    model: Model
    train: Train
    visualize: Visualize

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.train.patience is not None and not (self.split.validation or self.split.validation_from_test):
            raise ValueError("train.patience needs validation images: set it to null, or split.validation above 0")
        return self


def load(path: Path = PARAMS) -> Params:
    """Reads and checks the whole file. Raises `Fault` with one line per fault, joined by '; '."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Fault(f"{path} is missing: cp {RECIPES}/digits.yaml {path}") from None
    except UnicodeDecodeError as error:
        raise Fault(f"{path} is not UTF-8 text (byte {error.start})") from None
    return parse(text, str(path))


def parse(text: str, file: str) -> Params:
    """The parameters in `text`; `file` is its name in messages.

    YAML 1.2 by the reader that DVC uses, so that `lr: 1e-3` is the number it looks like for both. Raises `Fault`.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Fault(f"{file}{line}: not valid YAML: {error.problem}") from None
    except (YAMLError, ValueError) as error:
        raise Fault(f"{file}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise Fault(f"{file}: must hold keys such as 'seed:' and 'data:'; see {RECIPES}/digits.yaml")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise Fault("; ".join(f"{file}: {line}" for line in _explain(error, raw))) from None


def _explain(error: ValidationError, raw: dict[str, Any]) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        key, value = _locate(detail, raw)
        kind, message = detail["type"], detail["msg"]
        message = message.removeprefix("Value error, ").replace("Input should be", "must be", 1)
        message = message.replace("Input should", "must").replace("String should", "must")
        if kind == "missing":
            yield f"{key} is missing: {RECIPES}/digits.yaml shows what it may be"
        elif kind == "extra_forbidden":
            yield f"unknown key {key}: {_nearest(key, raw)}"
        elif kind == "union_tag_invalid":
            yield f"{key}.name is {value.get('name')!r}: must be one of {detail['ctx']['expected_tags']}"
        elif kind == "union_tag_not_found":
            yield f"{key}.name is missing: {RECIPES}/digits.yaml shows what it may be"
        elif isinstance(value, dict) and kind == "value_error":
            yield f"{key}: {message}" if key else message
        else:
            yield f"{key} is {value!r}: {message}"


def _locate(detail: ErrorDetails, raw: Any) -> tuple[str, Any]:
    """The dotted key and the value that pydantic complains of, without the names of union members in its path."""
    keys: list[str] = []
    value = raw
    for part in detail["loc"]:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if inside:
            value = value[part]
        if inside or (detail["type"] == "missing" and part == detail["loc"][-1]):
            keys.append(str(part))
    return ".".join(keys), value


def _nearest(key: str, raw: dict[str, Any]) -> str:
    section: Any = Params
    *parents, name = key.split(".")
    value: Any = raw
    for parent in parents:
        value = value[parent]
        section = _member(section.model_fields[parent].annotation, value)
    allowed = list(section.model_fields)
    close = difflib.get_close_matches(name, allowed, n=1)
    prefix = "".join(f"{parent}." for parent in parents)
    return f"did you mean {prefix}{close[0]}?" if close else f"allowed here: {', '.join(allowed)}"


def _member(annotation: Any, value: dict[str, Any]) -> type[Section]:
    """The section class that a value belongs to: the annotation itself, or the union's member by its `name`."""
    members: Sequence[Any] = [
        inner
        for member in getattr(annotation, "__args__", (annotation,))
        for inner in (getattr(member, "__origin__", member),)
        if isinstance(inner, type) and issubclass(inner, Section)
    ]
    for member in members:
        names = member.model_fields["name"].annotation if "name" in member.model_fields else None
        if value.get("name") in getattr(names, "__args__", ()):
            return member  # type: ignore[no-any-return]
    return members[0]  # type: ignore[no-any-return]


def main() -> None:
    load()


if __name__ == "__main__":
    command(main)
