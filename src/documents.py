"""YAML and JSON that others may have written: read with bounds, so that a short text stays small.

Whatever is wrong with such a text is a `ValueError` of one line. YAML is 1.2, by the reader that DVC uses: both see the
same numbers.
"""

import json
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent

_BYTES = 2 * 2**20  # the reader takes 10 s for so many; a dvc.lock has some 20 KiB
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
    try:
        return _checked(json.loads(text))
    except RecursionError:
        raise ValueError(f"nested more than {_DEPTH} deep") from None


def _checked(value: Any, depth: int = 0) -> Any:
    if depth > _DEPTH:
        raise ValueError(f"nested more than {_DEPTH} deep")
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise ValueError(f"a number of more than {_BITS} bits")
    if isinstance(value, dict):
        for key, inner in value.items():
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
