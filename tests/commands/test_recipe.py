"""Recipes: what differs from the defaults, and the `params.yaml` that they make, which DVC changes line by line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clones import git
from ruamel.yaml import YAML

from src import recipe as command
from src.core.errors import UserError
from src.core.paths import DEFAULTS, PARAMS
from src.params import parse, writing
from src.params.writing import recipe
from src.tracking import identity

# Of the values of each recipe, as `digest` gives it: what a change of the defaults does to a recipe, it says here.
DIGESTS = {
    "cifar10-basic": "f8cfa8f7",
    "cifar10-speed": "ffd68d5a",
    "cifar10-vgg": "7b550c7f",
    "cifar10-vgg-modern": "f6b5db16",
    "cifar100": "a2690471",
    "digits": "72362e4d",
    "dogs-vs-cats": "37275c9d",
    "dogs-vs-cats-modern": "6e319f3d",
    "fashion-mnist": "cafb1d14",
    "fashion-mnist-modern": "b438ba9b",
    "mnist": "ed81dc25",
    "mnist-modern": "053cf140",
    "own-images": "0a75f8e2",
}


def digest(name: str) -> str:
    params = writing.load_recipe(name).model_dump(exclude={"report": True, "data": {"title"}})
    return identity.parameters_digest(identity.flatten(params))[:8]


def test_the_values_of_the_recipes_are_those_that_were_published_or_measured() -> None:
    assert {name: digest(name) for name in writing.names()} == DIGESTS


@pytest.mark.parametrize("name", writing.names())
def test_a_recipe_says_what_it_reaches_and_takes_and_no_more_than_what_differs(name: str) -> None:
    header = writing.header(name)
    assert "# Reaches:" in header
    assert "# Takes:" in header
    assert recipe(name).startswith(header)
    ours, defaults = (YAML(typ="safe", pure=True).load(path) for path in (Path(f"recipes/{name}.yaml"), DEFAULTS))
    needless = dict(leaves(ours)).items() & dict(leaves(defaults)).items()
    assert [key for key, _ in needless if not key.startswith(writing.REPLACED)] == []


def test_every_key_has_a_comment() -> None:
    """Beside the key, above it, or at the map that it is a part of."""
    for line in DEFAULTS.read_text(encoding="utf-8").splitlines():
        value = line.partition("#")[0]
        indent = len(value) - len(value.lstrip())
        if indent == 2 or (value.strip() and not value.rstrip().endswith(":")):
            assert "#" in line or indent == 4, f"no comment at {line!r}"


def leaves(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from leaves(inner, f"{above}{key}.")
        else:
            yield f"{above}{key}", tuple(inner) if isinstance(inner, list) else inner


@pytest.mark.parametrize("new", ["7", "1e-3", "word", "null"])
def test_dvc_changes_one_line_for_a_scalar(new: str, tmp_path: Path) -> None:
    """As `dvc exp run -S` does, here with all of them at once; null is written as nothing."""
    from dvc.utils.hydra import apply_overrides

    text, file = recipe("cifar10-vgg"), tmp_path / "params.yaml"
    values = dict(leaves(YAML(typ="safe", pure=True).load(text)))
    scalars = [key for key, value in values.items() if not isinstance(value, tuple) and "tune.space" not in key]
    file.write_text(text, encoding="utf-8")
    apply_overrides(str(file), [f"{key}={new}" for key in scalars])
    before, after = text.splitlines(), file.read_text(encoding="utf-8").splitlines()
    changed = [(old, now) for old, now in zip(before, after, strict=True) if old != now]
    assert 0 < len(changed) <= len(scalars)
    assert all(old.partition(":")[0] == now.partition(":")[0] for old, now in changed)


def test_an_unknown_recipe_is_one_line_that_names_the_others() -> None:
    with pytest.raises(UserError, match="there is no recipe mnits: choose one of cifar10-basic, "):
        recipe("mnits")


def test_the_command_lists_writes_and_loses_no_edit(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["recipe", *arguments])
        command.main()
        return PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else capsys.readouterr().out

    listed = run()
    assert all(f"# {name}: " in listed for name in writing.names())
    git(root, "init", "-q")
    assert run("mnist") == recipe("mnist")
    assert run("digits") == recipe("digits"), "a recipe is no edit"
    edited = writing.changed(recipe("digits"), {"train.epochs": 3})
    PARAMS.write_text(edited, encoding="utf-8")
    with pytest.raises(UserError, match=r"changes that no commit holds: .* by python -m src\.recipe mnist --force"):
        run("mnist")
    assert PARAMS.read_text(encoding="utf-8") == edited
    git(root, "add", "params.yaml")
    git(root, "commit", "-qm", "edited")
    assert run("mnist") == recipe("mnist")
    PARAMS.write_text(edited + "\n", encoding="utf-8")
    assert run("mnist", "--force") == recipe("mnist")


def test_no_recipe_changes_what_the_team_judges_changes_by(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ruled = writing.changed(recipe("mnist"), {"report.fail_on": "worse", "report.margin": 0.5})
    PARAMS.write_text(ruled, encoding="utf-8")
    for name in ("digits", "cifar100", "mnist"):
        monkeypatch.setattr("sys.argv", ["recipe", name])
        command.main()
        assert parse(PARAMS.read_text(encoding="utf-8"), "").report == parse(ruled, "").report
    assert PARAMS.read_text(encoding="utf-8") == ruled
    PARAMS.write_text("report: {fail_on: worse", encoding="utf-8")
    with pytest.raises(UserError, match=r"params\.yaml cannot be read, nor its section report kept: repair it"):
        command.main()
    PARAMS.unlink()
    command.main()
    assert PARAMS.read_text(encoding="utf-8") == recipe("mnist")
