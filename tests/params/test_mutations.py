"""Whatever stands in `params.yaml`, it is accepted, or refused in one line that names the key."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from src.core.errors import UserError
from src.params import check, writing

RECIPES = {name: writing.load_recipe(name).model_dump() for name in ("digits", "cifar10-vgg-modern", "own-images")}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def keys(raw: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in raw.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from keys(value, (*above, key))


def refusal(read: Callable[[], object]) -> str:
    """What is said of the parameters, "" if they are accepted."""
    said = ""
    try:
        read()
    except UserError as error:
        said = str(error)
    assert said.isprintable()
    assert not said or said.startswith("params.yaml")
    return said


@given(st.sampled_from(sorted(RECIPES)), st.data(), VALUES)
@settings(max_examples=200, deadline=None)
def test_another_value_is_accepted_or_refused_by_name(recipe: str, data: st.DataObject, value: Any) -> None:
    raw: Any = copy.deepcopy(RECIPES[recipe])
    *parents, last = data.draw(st.sampled_from(sorted(keys(raw))))
    inner = raw
    for key in parents:
        inner = inner[key]
    inner[last] = value
    said = refusal(lambda: check(raw, "params.yaml"))
    assert not said or any(key in said for key in (*parents, last))
    if isinstance(value, float) and not math.isfinite(value):
        assert said, "no parameter may be infinite"


@given(st.sampled_from(sorted(RECIPES)), st.data())
@settings(max_examples=100, deadline=None)
def test_a_key_that_is_missing_or_misspelt_is_refused_by_name(recipe: str, data: st.DataObject) -> None:
    raw: Any = copy.deepcopy(RECIPES[recipe])
    *parents, last = data.draw(st.sampled_from([key for key in sorted(keys(raw)) if key[:2] != ("tune", "space")]))
    inner = raw
    for key in parents:
        inner = inner[key]
    value = inner.pop(last)
    assert last in refusal(lambda: check(raw, "params.yaml"))
    inner[f"{last}e"] = value
    assert last in refusal(lambda: check(raw, "params.yaml"))
