"""The commits of a change: which were run, what each differs in, and what came of it."""

import json
from pathlib import Path
from typing import Any

from answer_tables import TEST, VALIDATION, commit, results, with_flips, write
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
