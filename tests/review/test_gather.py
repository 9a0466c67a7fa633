"""The report's findings in two revisions, in repositories made by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from answer_tables import TEST, VALIDATION, answered, commit, lock, results, with_flips, write
from clones import DIGITS, git, substitute
from scipy import stats

from src.core.errors import UserError
from src.core.files import digest
from src.params import load
from src.review.gate import policy
from src.review.revision import at
from src.tracking.identity import recipe_digest


def test_a_gate_passes_nothing_that_shows_no_better(repo: Path, tell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def passes(gate: str = "worse") -> str | None:
        try:
            tell("--base", gate)
        except SystemExit as ended:
            capsys.readouterr()
            return str(ended.code)
        return None

    for gate in ("no-evidence", "worse"):
        git(repo, "checkout", "-qB", gate, "main")
        substitute(repo / "params.yaml", "fail_on: never", f"fail_on: {gate}")
        commit(repo, gate)
    substitute(repo / "params.yaml", "fail_on: worse", "fail_on: never  # which opens nothing")
    assert passes() is None
    results(repo, with_flips(VALIDATION, 0, 100), TEST, "better")
    assert passes() is None
    results(repo, with_flips(VALIDATION, 1, 0), TEST, "no worse than luck")
    assert passes() is passes("no-evidence") is None
    results(repo, answered(2_000, 0.8, seed=3), TEST, "another")
    assert passes() is None
    unsure = "report.fail_on is no-evidence: nothing shows that the model is as good"
    assert passes("no-evidence") == unsure
    results(repo, with_flips(VALIDATION, 100, 0), TEST, "worse")
    assert passes() == "report.fail_on is worse: the model is worse"
    # Deleting what shows it must not help, with the record of it or without; nor leaving it as it was.
    (repo / "reports/validation_predictions.csv").unlink()
    assert passes() == "report.fail_on is worse: it has no reports/validation_predictions.csv: run dvc repro"
    (repo / "dvc.lock").unlink()
    assert passes() == "report.fail_on is worse: it has no reports/validation_predictions.csv: run dvc repro"
    git(repo, "checkout", "-q", ".")
    write(repo / "src/models/net.py", "much worse\n")
    assert passes() == "report.fail_on is worse: its numbers are stale: run dvc repro"
    # Figures decide nothing; and other images, honestly made, are another question.
    git(repo, "checkout", "-q", ".")
    write(repo / "src/figures.py", "colour = 2\n")
    assert passes() is None
    results(repo, answered(1_500, 0.8, seed=3), TEST, "other", images="other photos")
    assert passes() is None
    assert passes("no-evidence") == unsure


def test_what_changes_are_judged_by_is_said_to_change(repo: Path, tell: Any) -> None:
    substitute(repo / "params.yaml", "margin: 1.0", "margin: 5.0")
    substitute(repo / "params.yaml", "fail_on: never", "fail_on: worse")
    first = tell().partition("WARNING]\n>\n> ")[2].partition("\n")[0]
    rules = "`report.margin` `1.0` → `5.0`, `report.fail_on` `never` → `worse`"
    assert first == f"**This change alters what later changes are judged by**: {rules}."
    commit(repo, "other rules")
    git(repo, "checkout", "-qb", "feature", "main^")
    assert "judged by" not in tell(), "others' rules, merged since"


def test_margin_and_gate_are_the_bases(repo: Path) -> None:
    """The head's do not replace those of a base whose file cannot be read."""
    text = (repo / "params.yaml").read_text(encoding="utf-8")

    def by(base: str, head: str = "report: {margin: 0.01, fail_on: never}") -> tuple[float, str]:
        sides = []
        for section in (base, head):
            (repo / "params.yaml").write_text(
                text.replace("report:\n  margin: 1.0\n  fail_on: never", section), encoding="utf-8"
            )
            sides.append(at(commit(repo, section)))
        found = policy(*sides)
        return found.margin, found.fail_on

    assert by("report: {margin: 1.0, fail_on: worse}") == (1.0, "worse")
    assert by("other: 1", "report: {margin: 2.0, fail_on: worse}") == (2.0, "worse")
    for base, reason in (
        ("<<<<<<<", "is not valid YAML"),
        ("report: 1.0", r"report is 1\.0: "),
        ("report: {margin: 1.0}", r"report\.fail_on is .*: Field required"),
        (
            "report: {margin: 1.0, fail_on: sometimes}",
            r"report\.fail_on is 'sometimes': Input should be 'never', 'worse' or",
        ),
    ):
        with pytest.raises(UserError, match=rf"^params\.yaml of \w{{9}}:? .*{reason}"):
            by(base)


def test_branches_are_compared_with_where_they_branched_off(repo: Path, tell: Any) -> None:
    git(repo, "checkout", "-qb", "feature")
    results(repo, with_flips(VALIDATION, 3, 2), TEST, "feature model")
    feature = commit(repo, "feature")
    git(repo, "checkout", "-q", "main")
    results(repo, with_flips(VALIDATION, 0, 150), TEST, "main model")
    commit(repo, "main goes on")
    found = json.loads(tell("--base", "main", "--head", "feature", "--json"))
    assert (found["verdict"], found["head"]["name"]) == ("equivalent", f"feature ({feature[:9]})")
    assert found["judged"] == 3  # by models of all branches
    assert "## Worse" in tell("--base", "main", "--head", "feature", "--exact")
    with pytest.raises(UserError, match="git knows no commit 'nowhere'"):
        tell("--base", "nowhere")
    git(repo, "checkout", "-q", "--orphan", "other")
    commit(repo, "alone")
    with pytest.raises(UserError, match="git fetch --unshallow"):
        tell("--base", "feature")
    assert "## Better" in tell("--base", "feature", "--exact")


def test_other_images_get_no_paired_test(repo: Path, tell: Any) -> None:
    results(repo, answered(1_500, 0.8, seed=3), TEST, "second model", images="other photos")
    found = json.loads(tell("--json"))
    assert found["verdict"] is None
    assert "other images under the same names" in found["validation"]["obstacle"]
    assert "other images under the same names" in found["test"]["obstacle"]  # as many, but other digests
    assert (found["curves"], found["metrics"]) == ({}, []), "nor are curves and numbers of other images compared"
    (repo / "dvc.lock").unlink()
    commit(repo, "no lock")
    lock(repo)
    assert "other images under the same names" in json.loads(tell("--base", "HEAD", "--json"))["test"]["obstacle"]


def test_corrections_keep_the_verdict(repo: Path, tell: Any) -> None:
    """Corrections leave the source as it is, and change labels and images of validation."""
    head = with_flips(VALIDATION, 0, 100)
    wrong = head.index[-2:]
    head.loc[wrong, "label"] = "class 0"
    head = head.drop(index=5).reset_index(drop=True).assign(index=range(1_999))
    results(repo, head, TEST, "second model")
    found = json.loads(tell("--json"))
    assert found["verdict"] == "better"
    assert found["test"]["comparison"]["corrected"] == ""
    text = tell()
    assert "## Better" in text
    assert (
        "> validation: 2 labels corrected, 1 image removed since the base; judged by the head's labels on the 1,999 "
        "shared images. The base's log loss by a corrected label is not known, and counts as the head's."
    ) in text
    assert "test: " not in text.partition("Cost:")[0]
    # Another source under the same names is another set.
    results(repo, head, TEST, "third model", images="other photos")
    assert "other images under the same names" in json.loads(tell("--json"))["validation"]["obstacle"]


def test_after_photos_came_and_went_those_of_both_sides_are_tested(repo: Path, tell: Any) -> None:
    """They are known by the digests of their pixels."""
    digests = [f"{number:012x}" for number in range(2_000)]
    results(repo, VALIDATION.assign(digest=digests), TEST, "first model")
    commit(repo, "with digests")
    head = with_flips(VALIDATION, 0, 100).assign(digest=digests, name="renamed " + VALIDATION["name"])
    head = pandas.concat([head.drop(index=[5, 6, 7]), head.tail(1)]).assign(index=range(1_998))  # one of them twice
    results(repo, head, TEST, "second model", images="other photos")
    found = json.loads(tell("--base", "HEAD", "--json"))
    assert (found["verdict"], found["validation"]["comparison"]["corrected"]) == ("better", "3 images removed")
    fewer = head[head["label"] != "class 3"]
    results(repo, fewer.assign(index=range(len(fewer))), TEST, "a class less", images="other photos")
    assert "removed, 1 class name no longer used since the base" in tell("--base", "HEAD")
    results(repo, head.assign(digest=[f"a{digest}" for digest in head["digest"]]), TEST, "third model", images="others")
    assert json.loads(tell("--base", "HEAD", "--json"))["validation"]["obstacle"].startswith("other images: 0 of 2,000")


def seeds(recipe: str, values: list[float]) -> pandas.DataFrame:
    rows = {"seed": range(len(values)), "recipe": recipe, "validation_accuracy": values, "test_accuracy": values}
    return pandas.DataFrame(rows)


def test_recipes_are_compared_over_seeds(repo: Path, tell: Any) -> None:
    before, after = [0.90, 0.91, 0.92], [0.94, 0.95, 0.97, 0.95]
    (repo / "params.yaml").write_text(DIGITS, encoding="utf-8")
    lock(repo)
    first = recipe_digest(load(), digest(repo / "data/prepared/dataset.json"))
    write(repo / "reports/seeds.csv", seeds(first, before))
    commit(repo, "seeds")
    substitute(repo / "params.yaml", "lr: 4.0e-3", "lr: 1.0e-3")
    second = recipe_digest(load(), digest(repo / "data/prepared/dataset.json"))
    write(repo / "reports/seeds.csv", pandas.concat([seeds(first, before), seeds(second, after)]))
    found = json.loads(tell("--json"))["seeds"]
    assert found["p"] == pytest.approx(stats.ttest_ind(before, after, equal_var=False).pvalue)
    assert (found["verdict"], found["difference"]) == ("better", pytest.approx(np.mean(after) - np.mean(before)))
    text = tell()
    assert "over several seeds, by validation accuracy: better. Mean of 91.00 % → 95.25 % (3 and 4 seeds)" in text
    assert "(3 and 4 seeds): +4.25 points" in text
    write(repo / "reports/seeds.csv", seeds(second, [0.911, 0.909, 0.910]))
    assert json.loads(tell("--json"))["seeds"]["verdict"] == "no evidence"
    write(repo / "reports/seeds.csv", seeds(second, after[:2]))
    assert json.loads(tell("--json"))["seeds"] is None
