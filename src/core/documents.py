"""Read YAML and JSON; an error says in one line what is wrong.

YAML is read as version 1.2 by the library that DVC uses, so that both see the same numbers.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode

from src.core.errors import UserError
from src.core.git import diagnosis


class NotYaml(ValueError):
    """Report text that is not YAML. place: " line 3" where it is known, else empty."""

    def __init__(self, problem: str, place: str = "") -> None:
        super().__init__(problem)
        self.place = place


def read_yaml(text: str | bytes) -> Any:
    """Return the content of the text.

    Raise `NotYaml` if it is not valid, has tags of Python objects, or has aliases: a few lines of them can repeat each
    other until they fill the memory.
    """
    try:
        yaml = YAML(typ="safe", pure=True)
        if "*" in str(text) and any(isinstance(event, AliasEvent) for event in yaml.parse(text)):
            raise ValueError("it has an alias (*name): write its value in full")
        return yaml.load(text)
    except MarkedYAMLError as error:
        place = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise NotYaml(str(error.problem), place) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise NotYaml(" ".join(str(error).split())) from None


def yaml_lines(text: str) -> dict[str, int]:
    """Return the line number of every key, nested ones too, by dotted name: `train.optimizer.lr`."""

    def lines(node: MappingNode, above: str) -> Iterator[tuple[str, int]]:
        for key, value in node.value:
            yield f"{above}{key.value}", key.start_mark.line + 1
            if isinstance(value, MappingNode):
                yield from lines(value, f"{above}{key.value}.")

    return dict(lines(YAML(typ="safe", pure=True).compose(text), ""))


def read_json(text: str | bytes) -> Any:
    """Return the content of the text. Raise `ValueError` if it is not valid, or has an integer of more than 64 bits."""
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError as error:
        raise ValueError(str(error)) from None


def _integer(digits: str) -> int:
    if not -(2**63) <= (number := int(digits)) < 2**63:
        raise ValueError("a number has more than 64 bits")
    return number


def keys(content: Any) -> dict[str, Any]:
    """Return the content of a document if it is a map; of an empty document, an empty map. Raise `ValueError` else."""
    if content is not None and not isinstance(content, dict):
        raise ValueError("it holds no keys")
    return content or {}


def read_object(path: Path, remedy: str = "run dvc repro") -> dict[str, Any]:
    """Return the keys and values of a JSON file.

    Raise `UserError`, which ends with the `remedy`, if the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {remedy}") from None
    try:
        return keys(read_json(content))
    except ValueError as error:
        raise damaged(path, content, error, remedy) from None


def damaged(path: Path, content: bytes, error: object, remedy: str = "run dvc repro") -> UserError:
    """Return the error of a file whose content cannot be read."""
    return UserError(f"{path} {': '.join(diagnosis(content, f'is damaged ({error})', remedy))}")
