"""Section `tune`: which settings a search tries, and how."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator

from src.params.section import Count, Section

Scalar = None | bool | int | float | str

_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Range:
    """Both ends belong to it. `step` counts from `low`; with `log`, equal ratios are equally likely."""

    low: int | float
    high: int | float
    log: bool
    step: int | float | None

    def words(self) -> str:
        extra = (", log: true" if self.log else "") + (f", step: {self.step}" if self.step is not None else "")
        return f"{{low: {self.low}, high: {self.high}{extra}}}"


@dataclass(frozen=True)
class Choices:
    choices: tuple[Scalar, ...]

    def words(self) -> str:
        return f"{{choices: {json.dumps(self.choices, ensure_ascii=False)}}}"


def seconds(text: str) -> float:
    """`90s`, `30m`, `1.5h` as seconds. Raises `ValueError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found or not float(found[1]):
        raise ValueError("must be a time above 0 such as 90s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def _duration(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be null, or a time such as 90s, 30m or 2h")
    seconds(value)
    return value


def _dimension(value: Any) -> Range | Choices:
    if isinstance(value, Range | Choices):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("must hold low and high, or choices")
    if set(value) == {"choices"}:
        return Choices(_choices(value["choices"]))
    allowed = {"low", "high", "log", "step"}
    if unknown := [key for key in value if key not in allowed]:
        raise ValueError(f"unknown key {unknown[0]}: allowed are low, high, log and step, or choices alone")
    if not {"low", "high"} <= set(value):
        raise ValueError("must hold low and high, or choices")
    return _range(value["low"], value["high"], value.get("log", False), value.get("step"))


def _range(low: Any, high: Any, log: Any, step: Any) -> Range:
    for name, number in {"low": low, "high": high, "step": step}.items():
        usable = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
        if not usable and not (name == "step" and number is None):
            raise ValueError(f"{name} must be a number")
    if not low < high:
        raise ValueError("low must be less than high")
    if not isinstance(log, bool):
        raise ValueError("log must be true or false")
    if log and low <= 0:
        raise ValueError("low must be above 0 with log: true")
    if step is not None and (log or not 0 < step <= high - low):
        raise ValueError("step must be above 0, at most high - low, and without log: true")
    return Range(low, high, log, step)


def _choices(values: Any) -> tuple[Scalar, ...]:
    if not isinstance(values, list | tuple) or len(values) < 2:
        raise ValueError("choices must list at least two values")
    if not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        raise ValueError("choices must be null, true, false, numbers or texts")
    if len({(type(value), value) for value in values}) < len(values):
        raise ValueError("choices must differ")
    return tuple(values)


Dimension = Annotated[Range | Choices, PlainValidator(_dimension), PlainSerializer(asdict)]


class Confirm(Section):
    best: Annotated[int, Field(ge=0, le=50)]
    seeds: Annotated[int, Field(ge=5, le=1000)]


class Tune(Section):
    trials: Count
    timeout: Annotated[str, PlainValidator(_duration)] | None
    sampler: Literal["tpe", "random", "grid", "cmaes", "gp"]
    pruner: Literal["median", "hyperband", "none"]
    objective: Literal["accuracy", "loss"]
    epochs: Count | None
    confirm: Confirm
    space: Annotated[dict[str, Dimension], Field(min_length=1)]
