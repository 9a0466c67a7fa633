"""What a search found, written into `params.yaml`: only the values' characters change, so that the difference is those
lines."""

import json
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode

from src.atomic import write_text
from src.documents import read_object, read_yaml
from src.faults import Fault
from src.params import Params, parse
from src.params.tune import Scalar
from src.paths import BEST, PARAMS
from src.search.plan import search
from src.search.space import apply, distributions, present
from src.tracking import identity


def write_best(params: Params) -> None:
    """Writes the winner of `best.json` into `params.yaml`. Raises `Fault` where it belongs to another search."""
    found = read_object(BEST, "run python -m src.tune, which writes it")
    try:
        study, told, new = found["study"], found["winner"]["verdict"], dict(found["winner"]["values"])
    except (ValueError, KeyError, TypeError):
        raise Fault(f"{BEST} is damaged: run python -m src.tune, which writes it") from None
    plan = search(params, distributions(params))
    if study != plan.name:
        raise Fault(f"{BEST} is of the search {study}, not of the present {plan.name}: search again")
    print(told)
    old = present(params)
    if old == new:
        print(f"{PARAMS} has these values already")
        return
    write_text(PARAMS, rewritten(PARAMS.read_text(encoding="utf-8"), new))
    for key, value in new.items():
        print(f"{key}: {spelled(old[key])} → {spelled(value)}")
    print(f"written to {PARAMS}: git diff shows it, dvc repro trains with it")


def rewritten(text: str, values: Mapping[str, Scalar]) -> str:
    """The text of `params.yaml` with the values in the place of those it has; comments keep their column.

    Raises `Fault` where the result is not the present parameters with these values, or the schema refuses it.
    """
    wanted = apply(parse(text, str(PARAMS)), values)
    root = YAML(typ="rt", pure=True).compose(text)
    places = []
    for key, value in values.items():
        node = _scalar(root, key)
        places.append((node.start_mark.index, node.end_mark.index, spelled(value)))
    for start, end, new in sorted(places, reverse=True):
        rest = text[end:]
        spaces = len(rest) - len(rest.lstrip(" "))
        if rest[spaces : spaces + 1] == "#":
            kept = max(1, spaces + (end - start) - len(new))
            rest = " " * kept + rest[spaces:]
        text = text[:start] + new + rest
    if parse(text, str(PARAMS)) != wanted:
        raise Fault(f"{PARAMS}: the values found cannot be written by themselves: set them by hand")
    return text


def spelled(value: Scalar) -> str:
    """As YAML 1.1 and 1.2 both read it: 1.0e-05, not 1e-05, which is a text in the older."""
    plain = identity.text(value)
    if isinstance(value, float) and "e" in plain and "." not in plain:
        plain = plain.replace("e", ".0e")
    return plain if read_yaml(plain) == value else json.dumps(value)


def _scalar(root: Any, key: str) -> ScalarNode:
    node = root
    for name in key.split("."):
        inner = [value for found, value in node.value if found.value == name] if isinstance(node, MappingNode) else []
        if not inner:
            raise Fault(f"{PARAMS}: {key} is not there to be changed")
        node = inner[0]
    if not isinstance(node, ScalarNode):
        raise Fault(f"{PARAMS}: {key} holds more than one value: set it by hand")
    return node
