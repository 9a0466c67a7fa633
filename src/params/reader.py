"""From text to checked parameters; every fault becomes one line that names file, key, value and what is allowed."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from src.documents import NotYaml, read_yaml
from src.faults import Fault
from src.params.section import Section
from src.params.whole import Params
from src.paths import PARAMS, RECIPES


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

    YAML 1.2, so that `lr: 1e-3` is the number it looks like, for DVC too. Raises `Fault`.
    """
    try:
        raw = read_yaml(text)
    except NotYaml as error:
        raise Fault(f"{file}{error.place}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise Fault(f"{file}: must hold keys such as 'seed:' and 'data:'; see {RECIPES}/digits.yaml")
    return check(raw, file)


def check(raw: dict[str, Any], file: str) -> Params:
    """The parameters that the nested values make; `file` is where they come from, for messages. Raises `Fault`."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise Fault("; ".join(f"{file}: {line}" for line in _explain(error, raw))) from None


def _explain(error: ValidationError, raw: dict[str, Any]) -> Iterator[str]:
    details = [(detail, *_locate(detail, raw)) for detail in error.errors(include_url=False)]
    suggested = {_nearest(keys, raw) for detail, keys, _ in details if detail["type"] == "extra_forbidden"}
    for detail, keys, value in details:
        key = ".".join(keys)
        key = key if key.isprintable() else repr(key)
        kind, message = detail["type"], detail["msg"]
        message = message.removeprefix("Value error, ").replace("Input should be", "must be", 1)
        message = message.replace("Input should", "must").replace("String should", "must")
        if kind == "missing":
            if f"did you mean {key}?" in suggested:
                continue  # one fault, not two
            yield f"{key} is missing: {RECIPES}/digits.yaml shows what it may be"
        elif kind == "extra_forbidden":
            yield f"unknown key {key}: {_nearest(keys, raw)}"
        elif kind == "union_tag_invalid":
            yield f"{key}.name is {value.get('name')!r}: must be one of {detail['ctx']['expected_tags']}"
        elif kind == "union_tag_not_found":
            yield f"{key}.name is missing: {RECIPES}/digits.yaml shows what it may be"
        elif kind == "string_pattern_mismatch":
            yield f"{key} is {value!r}: {RECIPES}/digits.yaml shows what it may be"
        elif kind == "model_type":
            yield f"{key} is {value!r}: must hold keys, as in {RECIPES}/digits.yaml"
        elif isinstance(value, dict) and kind == "value_error":
            yield f"{key}: {message}" if key else message
        else:
            yield f"{key} is {value!r}: {message}"


def _locate(detail: ErrorDetails, raw: Any) -> tuple[list[str], Any]:
    """The keys on the way to the value that pydantic complains of, without the names of union members; the value."""
    keys: list[str] = []
    value = raw
    for part in detail["loc"]:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if inside:
            value = value[part]
        if inside or (detail["type"] == "missing" and part == detail["loc"][-1]):
            keys.append(str(part))
    return keys, value


def _nearest(keys: Sequence[str], raw: dict[str, Any]) -> str:
    """What an unknown key may have meant. `keys`: on the way to it, itself the last; it may hold dots."""
    section: Any = Params
    *parents, name = keys
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
