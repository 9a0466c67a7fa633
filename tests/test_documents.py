"""YAML and JSON of others: a short text stays small, and whatever is wrong is one line."""

import pytest

from src.documents import NotYaml, read_json, read_yaml
from src.faults import Fault
from src.params import parse

LAUGHS = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))])
MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60))])
BAD_YAML = {
    LAUGHS: "aliases that multiply",
    MERGES: "aliases that multiply",
    "&a [*a]": "aliases that multiply",
    "a: &a 1\nb: [" + "*a, " * 101 + "]": "aliases that multiply",
    "[" * 5000: "nested more than 50 deep",
    "\n".join(" " * n + "a:" for n in range(200)): "nested more than 50 deep",
    "a: !!python/object/apply:os.system [ls]": "could not determine what the tag",
    "a: !!bool maybe": "could not determine what the tag",
    "a: !!int ''": "could not determine what the tag",
    "seed: 0x" + "f" * 6000: "more than 64 bits",
    "seed: " + "9" * 6000: "4300 digits",
    "a: 2020-99-99": "month must be in",
    "a: \0": "not allowed",
    "a: 1\n---\nb: 2": "another document",
    "a: x\n" * 600_000: "more than 2 MiB",
}


@pytest.mark.parametrize("text", BAD_YAML, ids=lambda text: repr(text[:20]))
def test_hostile_yaml_is_one_line(text: str) -> None:
    with pytest.raises(NotYaml, match=BAD_YAML[text]) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(Fault, match=rf"^params\.yaml( line \d+)?: not valid YAML: .*{BAD_YAML[text]}"):
        parse(text, "params.yaml")


def test_what_people_write_is_read() -> None:
    text = "base: &base {lr: 1e-3}\nother: {<<: *base, epochs: 30}\nagain: *base\nlabel: 010\nyes: no\n"
    found = read_yaml(text)
    assert found == {
        "base": {"lr": 0.001},
        "other": {"lr": 0.001, "epochs": 30},
        "again": {"lr": 0.001},
        "label": 10,
        "yes": "no",
    }
    assert read_yaml("") is None
    assert read_yaml(b"name: \xc3\xbc") == {"name": "ü"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested more than 50 deep"),
        ("[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("9" * 4000, "more than 64 bits"),
        ("9" * 5000, "4300 digits"),
        ("{", "property name"),
    ],
)
def test_hostile_json_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_json(text)
    assert read_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
