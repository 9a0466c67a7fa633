"""Bad parameters, made from the schema itself: every key of every recipe, each with all that it must not be."""

import copy
from collections.abc import Iterator, Mapping
from io import StringIO
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from src.params import Params, writing
from src.params.fields import Config

# A value of each type that YAML has; `None` is null.
SAMPLES: dict[type, Any] = {str: "word", float: 3.5, bool: True, list: [[]], dict: {"a": 1}, NoneType: None}


class Bad(NamedTuple):
    kind: str
    name: str
    text: str  # of params.yaml
    told: str  # must be in the line


class Key(NamedTuple):
    path: tuple[str, ...]
    field: FieldInfo
    raw: dict[str, Any]  # a recipe that has it

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    def changed(self, value: Any) -> dict[str, Any]:
        raw, inner = _copied(self)
        inner[self.path[-1]] = value
        return raw


def read(name: str) -> dict[str, Any]:
    raw: dict[str, Any] = YAML(typ="safe", pure=True).load(writing.recipe(name))
    return raw


def dumped(raw: Mapping[str, Any]) -> str:
    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(raw, text)
    return text.getvalue()


def keys() -> list[Key]:
    """Every key of the schema that a recipe has, once for each kind of section in which it stands."""
    found: dict[tuple[tuple[str, ...], type], Key] = {}
    for name in writing.names():
        raw = read(name)
        for section, key in _walk(Params, raw, (), raw):
            found.setdefault((key.path, section), key)
    return list(found.values())


def _walk(
    section: type[Config], value: Mapping[str, Any], above: tuple[str, ...], raw: dict[str, Any]
) -> Iterator[tuple[type[Config], Key]]:
    for name, field in section.model_fields.items():
        path = (*above, name)
        yield section, Key(path, field, raw)
        members = [part for part in parts(field.annotation) if isinstance(part, type) and issubclass(part, Config)]
        inner = value[name]
        if members and isinstance(inner, dict):
            fits = [member for member in members if member.model_fields.keys() == inner.keys()]
            # Of several with the same keys, the one with this name.
            chosen = fits[0] if len(fits) == 1 else next(member for member in fits if _named(member, inner["name"]))
            yield from _walk(chosen, inner, path, raw)


def _named(member: type[Config], name: str) -> bool:
    return name in get_args(member.model_fields["name"].annotation)


def parts(annotation: Any) -> Iterator[Any]:
    """The plain types and metadata that an annotation is made of."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from parts(inner)
        yield from metadata
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from parts(member)
    else:
        yield annotation


def allowed(field: FieldInfo) -> set[type]:
    """The types that a value may have."""
    found: set[type] = set()
    for part in parts(field.annotation):
        if get_origin(part) is Literal:
            found |= {type(value) for value in get_args(part)}
        elif isinstance(part, type) and issubclass(part, Config):
            found.add(dict)
        elif get_origin(part) in (list, dict):
            found.add(get_origin(part))
        elif isinstance(part, type):
            found.add(part)
    return found


def _bounds(field: FieldInfo) -> Iterator[float]:
    """Numbers just outside of what is allowed."""
    for part in (*field.metadata, *(parts(field.annotation))):
        if isinstance(part, FieldInfo):
            yield from _bounds(part)
        elif isinstance(part, Ge) and isinstance(part.ge, int | float):
            yield part.ge - 1
        elif isinstance(part, Le) and isinstance(part.le, int | float):
            yield part.le + 1
        elif isinstance(part, Gt | Lt):
            limit = part.gt if isinstance(part, Gt) else part.lt
            if isinstance(limit, int | float):
                yield limit


def bad_parameters() -> Iterator[Bad]:
    for key in keys():
        yield from _of(key)


def _of(key: Key) -> Iterator[Bad]:
    types = allowed(key.field)
    free = not any(get_origin(part) is Literal for part in parts(key.field.annotation))
    for kind, value in SAMPLES.items():
        # A word is no surprise where any text may stand; a name that is not listed is one.
        if kind not in types or (kind is str and not free):
            if kind in (bool, float) and float in types:
                value = True
            what = "null" if value is None else "wrong type" if kind not in types else "unknown name"
            yield Bad(what, f"{key.dotted}: {value!r}", dumped(key.changed(value)), key.dotted)
    for value in _bounds(key.field):
        yield Bad("out of range", f"{key.dotted}: {value}", dumped(key.changed(value)), key.dotted)
    if float in types:
        for value in (float("nan"), float("-inf")):
            yield Bad("not finite", f"{key.dotted}: {value}", dumped(key.changed(value)), key.dotted)
    raw, inner = _copied(key)
    before = inner.pop(key.path[-1])
    yield Bad("missing", key.dotted, dumped(raw), f"{key.dotted}")
    raw, inner = _copied(key)
    misspelt = f"{key.path[-1]}e"
    inner[misspelt] = inner.pop(key.path[-1])
    yield Bad("misspelt", ".".join((*key.path[:-1], misspelt)), dumped(raw), key.dotted)
    raw, inner = _copied(key)
    inner["zzz"] = before
    yield Bad("unknown key", f"beside {key.dotted}", dumped(raw), ".".join((*key.path[:-1], "zzz")))
    # A safe dump writes a key once: the second one under another name of the same length is then renamed.
    raw, inner = _copied(key)
    name = key.path[-1]
    inner["@" * len(name)] = copy.deepcopy(before)
    yield Bad("twice", key.dotted, dumped(raw).replace(f"'{'@' * len(name)}'", name), f'duplicate key "{name}"')


def _copied(key: Key) -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy of the recipe, and the section in it that holds the key."""
    raw = copy.deepcopy(key.raw)
    inner = raw
    for name in key.path[:-1]:
        inner = inner[name]
    return raw, inner
