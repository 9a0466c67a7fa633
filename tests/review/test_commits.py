"""The commits of a change: which were run, what each differs in, and what came of it."""

import json
import re
from pathlib import Path
from typing import Any

import pandas
import pytest
from answer_tables import TEST, VALIDATION, answered, commit, results, with_flips, write
from clones import git, substitute


def test_each_commit_with_new_answers_is_held_against_the_base(repo: Path, tell: Any) -> None:
    git(repo, "checkout", "-qb", "feature")
    substitute(repo / "params.yaml", "lr: 0.01", "lr: 0.1")
    results(repo, with_flips(VALIDATION, 100, 20), TEST, "second model")
    commit(repo, "a higher rate | too high")
    write(repo / "README.md", "words")
    commit(repo, "no run")
    assert "### Commits" not in tell(), "of one run the headline says all"
    write(repo / "src/models/net.py", "better\n")
    results(repo, with_flips(VALIDATION, 0, 100), TEST, "third model")
    last = commit(repo, "a better network")
    found = json.loads(tell("--json"))["commits"]
    assert [each["differs"] for each in found] == [[], ["parameters"], ["parameters", "code"]]
    assert [each["comparison"]["verdict"] for each in found] == ["equivalent", "worse", "better"]
    assert [len(each["accuracy"]) for each in found] == [3, 3, 3]
    text = tell()
    row = f"| `{last[:9]} a better network` | parameters, code | 84.85 % (83.21 to 86.35) | Better, +5.00 points |"
    assert row in text
    assert ")` |  | 79.85 % (78.04 to 81.55) |  |" in text, "the base's own"
    assert "a&#32;higher&#32;rate&#32;&#124;" in text, "a subject is text, never a cell"


def test_a_run_with_other_images_is_held_against_the_commit_before(repo: Path, tell: Any) -> None:
    git(repo, "checkout", "-qb", "feature")
    results(repo, answered(1_500, 0.8, seed=3), TEST, "second model", images="other photos")
    commit(repo, "other photos")
    write(repo / "src/models/net.py", "better\n")
    results(repo, answered(1_500, 0.9, seed=3), TEST, "third model", images="other photos")
    commit(repo, "a better network")
    found = json.loads(tell("--json"))["commits"]
    assert [each["differs"] for each in found] == [[], ["data"], ["data", "code"]]
    text = tell()
    table = text.partition("### Commits")[2]
    assert "| data | 79.33 % (77.21 to 81.31) | perhaps other images under the same names: " in table
    assert "| data, code | 89.07 % (87.39 to 90.55) | Better, +9.73 points against the commit before |" in table
    git(repo, "reset", "-q", "--soft", "main")
    commit(repo, "both")
    assert "### Commits" in tell(), "where nothing is paired, even of one commit"


def of_recipe(repo: Path, name: str, answers: pandas.DataFrame, model: str, rate: float = 0.01) -> str:
    """A commit of a run, with `params.yaml` as `src.recipe` heads it; each recipe has its own images."""
    params = (repo / "params.yaml").read_text()
    params = re.sub("^# .*\n", "", re.sub("lr: .*", f"lr: {rate}", params))
    write(repo / "params.yaml", f"# {name}: a recipe\n{params}")
    renamed = answers.assign(name=name + answers["name"])
    results(repo, renamed, renamed, model, images=f"of {name}")
    return commit(repo, model)[:9]


def test_several_recipes_are_held_each_against_its_own_last_run(
    repo: Path, tell: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    substitute(repo / "params.yaml", "margin: 1.0", "margin: 1.0\n  fail_on: worse")
    of_recipe(repo, "mnist", with_flips(VALIDATION, 300, 0), "an old mnist")
    last = of_recipe(repo, "mnist", VALIDATION, "mnist")
    of_recipe(repo, "digits", VALIDATION, "digits")
    git(repo, "checkout", "-qb", "feature")
    better = of_recipe(repo, "mnist", with_flips(VALIDATION, 0, 100), "better mnist", rate=0.1)
    worse = of_recipe(repo, "mnist", with_flips(VALIDATION, 100, 0), "worse mnist", rate=0.2)
    first = of_recipe(repo, "photos", VALIDATION, "photos")
    digits = of_recipe(repo, "digits", with_flips(VALIDATION, 0, 100), "better digits", rate=0.1)
    with pytest.raises(SystemExit, match=r"report\.fail_on is worse: mnist: the model is worse"):
        tell()
    text = capsys.readouterr().out
    assert "## Better; mnist: the model is worse\n" in text
    assert "Also run in this change: `mnist`: Worse, −5.00 points, `photos`: the first run of this recipe." in text
    table = text.partition("### Commits")[2].partition("### ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert [row.split(" ")[1:4:2] for row in rows] == [
        ["`digits`", "`main"],
        ["`digits`", f"`{digits}"],
        ["`mnist`", f"`{last},"],
        ["`mnist`", f"`{better}"],
        ["`mnist`", f"`{worse}"],
        ["`photos`", f"`{first}"],
    ]
    assert rows[2].endswith(", the last run of mnist` |  | 79.85 % (78.04 to 81.55) |  |")
    assert rows[4].endswith(" | parameters | 74.85 % (72.90 to 76.70) | Worse, −5.00 points |")
    # The headline is of the head's recipe, though the base was at another one.
    git(repo, "checkout", "-q", worse)
    with pytest.raises(SystemExit, match=r"report\.fail_on is worse: the model is worse"):
        tell("--base", "main")
    text = capsys.readouterr().out
    assert f"`the working tree` against `{last}, the last run of mnist`" in text
    assert (
        "> The change builds on a run of `digits`. The model is compared with the last run of its own recipe.\n" in text
    )


def test_the_first_run_of_a_recipe_is_measured_by_nothing_of_another(repo: Path, tell: Any) -> None:
    """But for one on the same images, which the answers can tell apart."""
    write(repo / "reports/history.csv", pandas.DataFrame({"epoch": [1, 2], "validation_accuracy": [0.5, 0.6]}))
    base = of_recipe(repo, "digits", VALIDATION, "digits")
    git(repo, "checkout", "-qb", "feature")
    results(repo, with_flips(VALIDATION, 0, 100), TEST, "better digits")
    digits = of_recipe(repo, "digits", with_flips(VALIDATION, 0, 100), "better digits")
    write(repo / "src/models/net.py", "other\n")
    photos = of_recipe(repo, "photos", answered(1_000, 0.8, seed=3), "photos", rate=0.1)
    text, found = tell(), json.loads(tell("--json"))
    assert "## First run of this recipe\n" in text
    assert "Cost: 94,154 parameters, unknown MiB.\n" in text
    assert not any(found[key] for key in ("annotations", "curves", "metrics", "environment", "spent", "seeds"))
    assert "two trained models" not in text
    rows = [line.split(" ")[1:4:2] for line in text.partition("### Commits")[2].splitlines() if line.startswith("| `")]
    assert rows == [["`photos`", f"`{photos}"], ["`digits`", "`main"], ["`digits`", f"`{digits}"]]
    assert base in text
    substitute(repo / "params.yaml", "# photos", "# digits-modern")
    renamed = with_flips(VALIDATION, 0, 50).assign(name="digits" + VALIDATION["name"])
    results(repo, renamed, renamed, "modern", images="of digits")
    assert "## Better\n" in tell()
    assert json.loads(tell("--json"))["annotations"]
