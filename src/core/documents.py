"""YAML and JSON that others may have written: read with bounds, so that a short text stays small.

Whatever is wrong with such a text is a `ValueError` of one line; with a file that a command makes again, a
`UserError` that names both. YAML is 1.2, by the reader that DVC uses: both see the same numbers.
"""

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent

from src.core.errors import UserError

_BYTES = 2 * 2**20  # the reader takes 10 s for so many; a dvc.lock has some 20 KiB
_JSON_BYTES = 8 * 2**20  # at most 0.3 GiB in memory; a list of the weights of a large network has 0.6 MiB
_DEPTH = 50
_ALIASES = 100
_BITS = 64  # of a whole number: larger ones cannot be computed with, and thousands of digits not even be shown


class NotYaml(ValueError):
    """`place`: " line 3" where it is known, else empty."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(problem)
        self.place = place


def read_yaml(text: str | bytes) -> Any:
    """What the text holds. `NotYaml` for tags too, too much, and aliases in what an anchor names: they multiply."""
    if len(text) > _BYTES:
        raise NotYaml(f"more than {_BYTES // 2**20} MiB")
    reader = YAML(typ="safe", pure=True)
    reader.Composer = _Bounded
    try:
        return _checked(reader.load(text))
    except MarkedYAMLError as error:
        place = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise NotYaml(str(error.problem), place) from None
    except (YAMLError, ValueError) as error:
        raise NotYaml(" ".join(str(error).split())) from None


def read_json(text: str | bytes) -> Any:
    if len(text) > _JSON_BYTES:
        raise ValueError(f"more than {_JSON_BYTES // 2**20} MiB")
    try:
        return _checked(json.loads(text))
    except RecursionError:
        raise ValueError(f"nested more than {_DEPTH} deep") from None


def keys(content: Any) -> dict[str, Any]:
    """What was read, as keys and values; an empty text has none. Raises `ValueError` for anything else."""
    if content is not None and not isinstance(content, dict):
        raise ValueError("it holds no keys")
    return content or {}


def read_object(path: Path, remedy: str = "run dvc repro") -> dict[str, Any]:
    """Keys and values of a JSON file. Raises `UserError`, which ends with the `remedy`, where it is missing or
    damaged."""
    try:
        with path.open("rb") as file:
            content = read_json(file.read(_JSON_BYTES + 1))
        if not isinstance(content, dict):
            raise ValueError("it holds no keys")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {remedy}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {remedy}") from None
    return content


def _checked(value: Any, depth: int = 0) -> Any:
    if depth > _DEPTH:
        raise ValueError(f"nested more than {_DEPTH} deep")
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise ValueError(f"a number of more than {_BITS} bits")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str | int | float | None):
                raise ValueError(f"a key that is no text ({type(key).__name__})")
            _checked(key, depth + 1)
            _checked(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            _checked(inner, depth + 1)
    return value


class _Bounded(Composer):
    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self._depth = self._anchored = self._aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if isinstance(event, AliasEvent):
            self._aliases += 1
            if self._anchored or self._aliases > _ALIASES:
                raise ComposerError(None, None, "aliases that multiply: write the values out", event.start_mark)
            return super().compose_node(parent, index)
        if getattr(event, "tag", None) is not None:
            problem = f"could not determine what the tag {str(event.tag)[:80]!r} means: leave it out"
            raise ComposerError(None, None, problem, event.start_mark)
        self._depth += 1
        if self._depth > _DEPTH:
            raise ComposerError(None, None, f"nested more than {_DEPTH} deep", event.start_mark)
        anchored = getattr(event, "anchor", None) is not None
        self._anchored += anchored
        node = super().compose_node(parent, index)
        self._anchored -= anchored
        self._depth -= 1
        return node
