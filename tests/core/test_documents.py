"""YAML, JSON and DVC's files: what people write is read, and whatever is wrong is one line."""

from pathlib import Path

import pytest

from src.core.documents import NotYaml, read_json, read_object, read_yaml
from src.core.dvc import read_lock, read_pipeline, read_pointer
from src.core.errors import UserError
from src.params import parse

BAD_YAML = {
    "a: &a {b: [*a]}": "it has an alias",
    "[" * 900: "recursion",
    "a: !!python/object/apply:os.system [ls]": "could not determine a constructor for the tag",
    "seed: " + "9" * 6000: "4300 digits",
    "a: 2020-99-99": "month must be in",
    "a: \0": "not allowed",
    "a: 1\n---\nb: 2": "another document",
    "a: 1\na: 2": 'duplicate key "a"',
}


@pytest.mark.parametrize("text", BAD_YAML, ids=lambda text: repr(text[:20]))
def test_bad_yaml_is_one_line(text: str) -> None:
    with pytest.raises(NotYaml, match=BAD_YAML[text]) as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"^params\.yaml( line \d+)?: not valid YAML: .*{BAD_YAML[text]}"):
        parse(text, "params.yaml")


def test_what_people_write_is_read() -> None:
    assert read_yaml("rate: &rate 1e-3\nlabel: 010\nyes: no\nproduct: 2 * 3") == {
        "rate": 0.001, "label": 10, "yes": "no", "product": "2 * 3",
    }  # fmt: skip
    assert read_yaml("") is None
    assert read_yaml(b"name: \xc3\xbc") == {"name": "ü"}
    assert read_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "it holds no keys"),
        (b"", "Expecting value"),
        (b"{", "property name"),
        (b"\xff\xfe{}", "can't decode|Expecting value"),
        (b"[" * 100_000, "recursion"),
        (b"9" * 5000, "4300 digits"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_a_file_that_is_no_object_is_reported_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(UserError, match=r"metrics\.json is missing: run dvc repro$"):
        read_object(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"metrics\.json is damaged \(.*({message}).*\): ask them$"):
        read_object(path, "ask them")
    path.write_bytes(content + b"\n<<<<<<< HEAD\n")
    with pytest.raises(UserError, match=r"metrics\.json has conflicts that git left: .*git checkout --theirs "):
        read_object(path, "ask them")
    path.write_bytes(b'{"a": 1}')
    assert read_object(path) == {"a": 1}


def test_what_dvc_writes_is_read() -> None:
    assert read_pipeline(Path("dvc.yaml").read_bytes())["train"]["cmd"] == "exec python -m stages.train"
    assert read_lock("") == read_pipeline("") == {}
    assert read_pointer("outs:\n- md5: 0a\n  path: images\n") == "0a"
    for text in ("", "outs: []", "outs: [{path: images}]", "outs: {md5: a}"):
        with pytest.raises(ValueError, match="outs"):
            read_pointer(text)
