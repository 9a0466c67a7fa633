"""Turn `tune.space`, which has dotted keys of `params.yaml`, into Optuna's distributions."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from src.core.errors import UserError
from src.core.paths import PARAMS
from src.params import Choices, Params, Range, Scalar, check_space, with_values

Values = Mapping[str, Scalar]


def distributions(params: Params) -> dict[str, BaseDistribution]:
    """Return the distribution of every key. Raises `UserError` if a key or a combination of values is not allowed."""
    check_space(params)
    present(params)  # raises where a key has no present value, which is compared in the end
    return {key: _distribution(params, key, entry) for key, entry in params.tune.space.items()}


def present(params: Params) -> dict[str, Scalar]:
    """Return the present values of the keys of the space, with which the best are compared. Raises `UserError`."""
    found: dict[str, Scalar] = {}
    settings = params.model_dump()
    for key in params.tune.space:
        value: Any = settings
        for name in key.split("."):
            if name not in value:
                raise UserError(f"{PARAMS}: tune.space: {key} cannot be searched: the present settings lack it")
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
    """Tell if a key takes whole numbers only: `{low: 0, high: 1}` may also be the range of a share."""
    if not all(isinstance(number, int) for number in (entry.low, entry.high, entry.step or 1)):
        return False
    try:
        with_values(params, {key: entry.low + (entry.high - entry.low) / 3.1})
    except UserError:
        return True
    return False
