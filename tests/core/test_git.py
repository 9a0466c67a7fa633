"""What git keeps of files."""

from pathlib import Path

import pytest
from clones import committed, git

from src.core.git import versions


def test_versions_are_those_of_branches_and_tags_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC keeps experiments, and what it stashed of the working tree, in refs of its own."""
    (tmp_path / "dvc.lock").write_text("first")
    committed(tmp_path)
    monkeypatch.chdir(tmp_path)
    for text, ref in (("an experiment", "refs/exps/12/3456/quiet-fox"), ("a release", "refs/tags/v1")):
        Path("dvc.lock").write_text(text)
        git(tmp_path, "commit", "-qam", text)
        git(tmp_path, "update-ref", ref, "HEAD")
        git(tmp_path, "reset", "-q", "--hard", "HEAD~1")
    assert {content for _, content in versions(Path("dvc.lock"))} == {b"first", b"a release"}
