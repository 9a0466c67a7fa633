"""YAML and JSON of others: a short text stays small, and whatever is wrong is one line."""

from pathlib import Path

import pytest

from src.core.documents import NotYaml, read_json, read_object, read_yaml
from src.core.dvc import read_lock, read_pipeline, read_pointer
from src.core.errors import UserError
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
    "? [1, 2]\n: 3": "a key that is no text",
    "a: [{2020-01-01: 1}]": "a key that is no text",
}


@pytest.mark.parametrize("text", BAD_YAML, ids=lambda text: repr(text[:20]))
def test_hostile_yaml_is_one_line(text: str) -> None:
    with pytest.raises(NotYaml, match=BAD_YAML[text]) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"^params\.yaml( line \d+)?: not valid YAML: .*{BAD_YAML[text]}"):
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
        ("[" + "1," * 2**22 + "1]", "more than 8 MiB"),
    ],
)
def test_hostile_json_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_json(text)
    assert read_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[]", "it holds no keys"),
        (b"null", "it holds no keys"),
        (b"", "Expecting value"),
        (b"{", "property name"),
        (b"\xff\xfe{}", "can't decode|Expecting value"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested more than 50 deep"),
        (b'{"a": ' + b"9" * 99 + b"}", "more than 64 bits"),
        (b'{"a": "' + b"x" * 2**23 + b'"}', "more than 8 MiB"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_a_file_that_is_no_object_is_told_with_its_name(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(UserError, match=r"metrics\.json is missing: run dvc repro$"):
        read_object(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"metrics\.json is damaged \(.*({told}).*\): ask them$"):
        read_object(path, "ask them")
    path.write_bytes(b'{"a": 1}')
    assert read_object(path) == {"a": 1}


STAGES = {
    "stages: [train]": "it holds no keys",
    "stages: 3": "it holds no keys",
    "- stages": "it holds no keys",
    "stages: {train: 5}": r"stages\.train: Input should be a valid",
    "stages: {train: {cmd: x, deps: ~}}": r"stages\.train\.deps: Input should be a valid list",
    "stages: {train: {cmd: x, deps: [5]}}": r"stages\.train\.deps\.0: Input should be a valid",
    "stages: {train: {cmd: x, outs: [[a]]}}": r"stages\.train\.outs\.0",
}


@pytest.mark.parametrize("text", STAGES)
def test_what_dvc_did_not_write_is_one_line(text: str) -> None:
    for read in (read_pipeline, read_lock):
        with pytest.raises(ValueError, match=STAGES[text]) as caught:
            read(text)
        assert "\n" not in str(caught.value)


LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: python -m stages.train
    deps:
    - path: src/models
      hash: md5
      md5: 6ffbaaad7b4ac6e1afabed19a80b2560.dir
      size: 25511
      nfiles: 7
    params:
      params.yaml:
        seed: 0
        train:
          patience:
          optimizer:
            lr: 0.004
    outs:
    - path: models/model.safetensors
      hash: md5
      md5: 292882aafc26f13d2405a156e74d7f0b
      size: 378520
"""


def test_what_dvc_writes_is_read() -> None:
    assert read_pipeline(Path("dvc.yaml").read_bytes())["train"]["cmd"] == "exec python -m stages.train"
    assert read_lock(LOCK)["train"]["outs"][0]["path"] == "models/model.safetensors"
    assert read_lock("") == read_pipeline("") == {}
    for text in (
        "stages: {train: {deps: []}}",
        "stages: {train: {cmd: x, outs: [{md5: a}]}}",
        "stages: {a: {cmd: x, params: {b: 1}}}",
    ):
        with pytest.raises(ValueError, match=r"stages\."):
            read_lock(text)
    assert read_pointer("outs:\n- md5: 0a\n  path: images\n") == "0a"
    for text in ("", "outs: []", "outs: [{path: images}]", "outs: {md5: a}"):
        with pytest.raises(ValueError, match="outs"):
            read_pointer(text)
