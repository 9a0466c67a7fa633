"""Turn text into checked parameters. Each mistake becomes a line that names file, key, value and what is allowed."""

import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from src.core.documents import NotYaml, read_yaml
from src.core.errors import UserError
from src.core.git import CONFLICTS, has_conflicts
from src.core.paths import DEFAULTS, PARAMS, main_root
from src.params.networks import TIMM, check_timm
from src.params.schema import Choices, Params, Scalar

if TYPE_CHECKING:
    import torch

SEARCHED = ("model", "train")  # data, split and seed are the same for every trial of a search
# Keys of train that a search cannot try: the process is prepared once for all trials, and tune.epochs sets the epochs.
_SHARED = {
    **dict.fromkeys(("device", "precision", "deterministic", "threads", "processes"), "all trials share it"),
    "epochs": "tune.epochs sets it for all trials",
}
_COMBINATIONS = 512  # of ends and choices of a space, at most, that are checked


def load() -> Params:
    """Read `params.yaml` and check it. Raises `UserError` with one line for each mistake, joined by '; '."""
    try:
        text = PARAMS.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{PARAMS} is missing: python -m src.recipe digits writes one") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{PARAMS} is not UTF-8 text (byte {error.start})") from None
    return parse(text, str(PARAMS))


def parse(text: str, file: str) -> Params:
    """Return the parameters in `text`; `file` is its name in messages.

    It is read as YAML 1.2, in which `lr: 1e-3` is a number; DVC reads it so, too. Raises `UserError`.
    """
    try:
        raw = read_yaml(text)
    except NotYaml as error:
        if has_conflicts(text.encode()):
            raise UserError(f"{file}{error.place} {': '.join(CONFLICTS)}") from None
        raise UserError(f"{file}{error.place}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{file}: must hold keys such as 'seed:' and 'data:'; see {DEFAULTS}")
    return check(raw, file)


def check(raw: dict[str, Any], file: str) -> Params:
    """Return the parameters with these nested values; `file` names their source in messages. Raises `UserError`."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise UserError("; ".join(f"{file}: {line}" for line in _explain(error, raw))) from None


def check_space(params: Params) -> None:
    """Check that each key of `tune.space` exists, and that all may have the values named there. Raises `UserError`.

    Only searches need that: trainings may use another optimiser than the space is for. Of very large spaces a sample of
    the combinations is checked, which is the same every time.
    """
    space = params.tune.space
    for key in space:
        config, _, rest = key.partition(".")
        reason = _SHARED.get(rest) if config == "train" else None
        if config not in SEARCHED or not rest:
            reason = "only keys of model and train can, such as train.optimizer.lr"
        if reason:
            raise UserError(f"{PARAMS}: tune.space: {key} cannot be searched: {reason}")
    ends = [
        entry.choices if isinstance(entry, Choices) else [*{entry.low, entry.low + (entry.step or 0), entry.high}]
        for entry in space.values()
    ]
    combinations: Iterator[Sequence[Scalar]] = product(*ends)
    if math.prod(map(len, ends)) > _COMBINATIONS:
        draw = random.Random(0)
        combinations = ([draw.choice(values) for values in ends] for _ in range(_COMBINATIONS))
    for values in combinations:
        with_values(params, dict(zip(space, values, strict=True)))


def with_values(params: Params, values: Mapping[str, Scalar]) -> Params:
    """Return the parameters with other values for some dotted keys, as a search tries them. Raises `UserError`."""
    raw = params.model_dump()
    for key, value in values.items():
        *configs, name = key.split(".")
        inner: Any = raw
        for config in configs:
            inner = inner.setdefault(config, {})
            if not isinstance(inner, dict):
                raise UserError(f"{PARAMS}: tune.space: {key} does not exist: {config} holds no keys")
        inner[name] = value
    names = "".join(f" with {key} {value}" for key, value in values.items() if isinstance(value, str))
    return check(raw, f"{PARAMS}: tune.space{names}")


def check_machine(params: Params) -> None:
    """Raise `UserError` if this machine lacks the network, weights or device: better now than after preparing data."""
    if params.model.name.startswith(TIMM):
        check_timm(params.model.name)
    if params.model.weights not in ("none", "default"):
        weights_file(params.model.weights)
    if params.train.device not in ("auto", "cpu"):
        device_named(params.train.device)


def weights_file(weights: str) -> Path:
    """Return the file that `model.weights` names, relative to the repository. Raises `UserError` where it is
    missing."""
    path = main_root() / weights
    if not path.is_file():
        raise UserError(f"model.weights: {path} is missing: give none, default or a .pth or .safetensors file")
    return path


def device_named(name: str) -> "torch.device":
    """Return the device that `train.device` names. Raises `UserError` if torch does not find it."""
    import torch  # takes seconds, which programs that do not compute should not spend

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    present = accelerator.type if accelerator is not None else "cpu"
    if name == "auto":
        name = present if present in ("cuda", "mps") else "cpu"
    device = torch.device(name)
    if device.type != "cpu" and device.type != present:
        raise UserError(f"train.device is {name}, but torch finds no such device here: set auto or cpu")
    if device.index is not None and device.index >= torch.accelerator.device_count():
        raise UserError(f"train.device is {name}, but there are only {torch.accelerator.device_count()} devices")
    return device


def _explain(error: ValidationError, raw: dict[str, Any]) -> Iterable[str]:
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        keys, value = _locate(detail, raw)
        key = ".".join(keys)
        key = key if key.isprintable() else repr(key)
        kind, message = detail["type"], detail["msg"].removeprefix("Value error, ").replace(" after validation", "")
        message = re.sub("^(Input|String|List|Dictionary) should", "must", message)
        message = re.sub("True|False", lambda word: word[0].lower(), message)  # as YAML writes them
        if kind in ("model_type", "model_attributes_type"):
            message = f"must hold keys, as in {DEFAULTS}"
        shown = "empty" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        if kind == "missing":
            line = f"{key} is missing: {DEFAULTS} shows what it may be"
        elif kind == "union_tag_invalid":
            line = f"{key}.name is {value.get('name')!r}: must be one of {detail['ctx']['expected_tags']}"
        elif kind == "union_tag_not_found":
            line = f"{key}.name is missing: {DEFAULTS} shows what it may be"
        elif kind == "string_pattern_mismatch":
            line = f"{key} is {shown}: {DEFAULTS} shows what it may be"
        elif isinstance(value, dict) and kind == "value_error":
            line = f"{key}: {message}" if key else message
        elif key in lines:  # the value may be of several types
            line = f"{lines[key]} or {re.sub('^must (be )?', '', message)}"
        else:
            line = f"{key} is {shown}: {message}"
        lines[key] = line
    # Where a part of a value is at fault, the value need not be of another type.
    return [line for key, line in lines.items() if not any(other.startswith(f"{key}.") for other in lines)]


def _locate(detail: ErrorDetails, raw: Any) -> tuple[list[str], Any]:
    """Return the keys that lead to the value that pydantic complains of, without names of union members; the value."""
    keys: list[str] = []
    value = raw
    for part in detail["loc"]:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if inside:
            value = value[part]
        if inside or (detail["type"] == "missing" and part == detail["loc"][-1]):
            keys.append(str(part))
    return keys, value
