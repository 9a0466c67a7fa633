"""Write the text of `params.yaml`, from a recipe or with some values changed; comments stay where they are.

The layout is that of DVC's own writer (ruamel.yaml's round trip), so that `dvc exp run -S` changes one line of a diff.
"""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from src.core.errors import UserError
from src.core.paths import DEFAULTS, PARAMS, RECIPES
from src.params.reading import parse
from src.params.schema import Params

_FOLDER = Path(__file__).resolve().parents[2]  # recipes are part of the code, wherever a command runs

# A recipe replaces these maps as a whole: an optimiser must not inherit another one's weight decay.
REPLACED = ("train.loss", "train.optimizer", "train.schedule", "tune.space")


def names() -> list[str]:
    """Return the names of the recipes, sorted."""
    return sorted(path.stem for path in (_FOLDER / RECIPES).glob("*.yaml") if path.name != DEFAULTS.name)


def defaults() -> str:
    """Return the text of `recipes/default.yaml`."""
    return (_FOLDER / DEFAULTS).read_text(encoding="utf-8")


def recipe_of(text: str) -> str:
    """Return the name of the recipe that a `params.yaml` was written from, by its first line; "" if it names none."""
    match = re.match(r"# ([\w-]+):", text, re.ASCII)
    return match[1] if match else ""


def header(name: str) -> str:
    """Return the comment at the top of a recipe, which says what it is, what it reaches, and how long it takes."""
    lines = _text(name).splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


def recipe(name: str, report: Mapping[str, Any] | None = None) -> str:
    """Return the text of a whole `params.yaml`: the defaults, changed by the recipe.

    report: values for the section `report`, which belongs to a team and not to a recipe. Raises `UserError` where there
    is no such recipe, or the result is not valid.
    """
    whole = _read(defaults())
    _merge(whole, (_read(_text(name)) or {}) | {"report": report or {}}, "")
    body = _written(whole)
    text = header(name) + body[body.index("\n\n") :]
    parse(text, f"{RECIPES / name}.yaml")
    return text


def load_recipe(name: str) -> Params:
    """Return the parameters of a recipe. Raises `UserError`."""
    return parse(recipe(name), f"{RECIPES / name}.yaml")


def changed(text: str, values: Mapping[str, Any]) -> str:
    """Return the text of `params.yaml` with other values for some dotted keys.

    Raises `UserError` where a key is missing or a value is not allowed.
    """
    whole = _read(text)
    for key, value in values.items():
        *parents, last = key.split(".")
        inner = whole
        for parent in parents:
            inner = inner.get(parent) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or last not in inner:
            raise UserError(f"{PARAMS}: {key} is not there to be changed")
        inner[last] = value
    parse(result := _written(whole), str(PARAMS))
    return result


def _text(name: str) -> str:
    path = _FOLDER / RECIPES / f"{name}.yaml"
    if name not in names():
        raise UserError(f"there is no recipe {name}: choose one of {', '.join(names())}")
    return path.read_text(encoding="utf-8")


def _merge(whole: Any, changes: Mapping[str, Any], above: str) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict) and f"{above}{key}" not in REPLACED:
            _merge(whole[key], value, f"{above}{key}.")
        else:
            whole[key] = _as_block(value) if f"{above}{key}" != "tune.space" else value


def _as_block(value: Any) -> Any:
    """Return a list or map, which recipes have in one line, as DVC would write it."""
    if isinstance(value, CommentedMap):
        value.fa.set_block_style()
        for inner in value.values():
            _as_block(inner)
    elif isinstance(value, CommentedSeq):
        value.fa.set_block_style()
    return value


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.default_flow_style = False
    return yaml


def _read(text: str) -> Any:
    return _yaml().load(text)


def _written(content: Any) -> str:
    text = StringIO()
    _yaml().dump(content, text)
    return text.getvalue()
