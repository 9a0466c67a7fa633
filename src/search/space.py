"""The space of a search: dotted keys of `params.yaml`, what each may be, and the parameters that chosen values make."""

from collections.abc import Mapping
from itertools import islice, product
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from src.faults import Fault
from src.params import Params, check
from src.params.tune import Choices, Range, Scalar
from src.paths import PARAMS

Values = Mapping[str, Scalar]

_SEARCHED = ("model", "train")  # all else is the same for every trial: data, division, seed
_SHARED = ("device", "precision", "deterministic", "threads", "processes")  # the process is prepared once for all
_COMBINATIONS = 4096  # of extremes and choices that are checked before the first trial


def distributions(params: Params) -> dict[str, BaseDistribution]:
    """What every key of `tune.space` may be. Raises `Fault` where a key does not exist or a value is refused."""
    space = params.tune.space
    for key in space:
        section, _, rest = key.partition(".")
        if section not in _SEARCHED or not rest:
            raise Fault(f"{PARAMS}: tune.space: {key} cannot be searched: only keys of model and train can")
        if section == "train" and rest in _SHARED:
            raise Fault(f"{PARAMS}: tune.space: {key} cannot be searched: all trials share it")
        if key == "train.epochs":
            raise Fault(f"{PARAMS}: tune.space: {key} cannot be searched: tune.epochs sets it for all trials")
    ends = [entry.choices if isinstance(entry, Choices) else (entry.low, entry.high) for entry in space.values()]
    for key, values in zip(space, ends, strict=True):
        for value in values:
            apply(params, {key: value})
    for combination in islice(product(*ends), _COMBINATIONS):
        apply(params, dict(zip(space, combination, strict=True)))
    return {key: _distribution(params, key, entry) for key, entry in space.items()}


def apply(params: Params, values: Values) -> Params:
    """The parameters with these values, checked. Raises `Fault`."""
    raw = params.model_dump()
    for key, value in values.items():
        *sections, name = key.split(".")
        inner: Any = raw
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise Fault(f"{PARAMS}: tune.space: {key} does not exist: {section} holds no keys")
        inner[name] = value
    return check(raw, f"{PARAMS}: tune.space")


def present(params: Params) -> dict[str, Scalar]:
    """The values that the keys of the space have now."""
    found: dict[str, Scalar] = {}
    for key in params.tune.space:
        value: Any = params.model_dump()
        for name in key.split("."):
            value = value[name]
        found[key] = value
    return found


def _distribution(params: Params, key: str, entry: Range | Choices) -> BaseDistribution:
    if isinstance(entry, Choices):
        return CategoricalDistribution(entry.choices)
    if _whole(params, key, entry):
        low, whole = int(entry.low), int(entry.step or 1)
        return IntDistribution(low, int(entry.high) - (int(entry.high) - low) % whole, log=entry.log, step=whole)
    high = float(entry.high)
    if entry.step is not None:  # Optuna would warn of a last step that is not whole
        high = entry.low + entry.step * int((entry.high - entry.low) / entry.step + 1e-9)
    return FloatDistribution(entry.low, high, log=entry.log, step=entry.step)


def _whole(params: Params, key: str, entry: Range) -> bool:
    """Whether only whole numbers fit: `{low: 1, high: 4}` of a share are still any numbers in between."""
    if not all(isinstance(number, int) for number in (entry.low, entry.high, entry.step or 1)):
        return False
    try:
        apply(params, {key: entry.low + (entry.high - entry.low) / 3.1})
    except Fault:
        return True
    return False
