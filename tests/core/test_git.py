"""What git keeps of files."""

import subprocess
from pathlib import Path

import pytest
from clones import committed, git

from src.core.errors import UserError
from src.core.git import blobs, versions


def test_a_partial_clone_whose_remote_is_away_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "origin").mkdir()
    (tmp_path / "origin/dvc.lock").write_text("first")
    committed(tmp_path / "origin")
    git(tmp_path / "origin", "config", "uploadpack.allowFilter", "true")
    partial = ("--filter=blob:none", "--no-checkout", (tmp_path / "origin").as_uri(), "partial")
    git(tmp_path, "clone", "-q", *partial)
    monkeypatch.chdir(tmp_path / "partial")
    assert [content for _, content in versions(Path("dvc.lock"))] == [b"first"], "git fetches it"
    subprocess.run(["rm", "-r", "../partial"], check=True)
    git(tmp_path, "clone", "-q", *partial)
    monkeypatch.chdir(tmp_path / "partial")
    (tmp_path / "origin").rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"this clone is partial, and git cannot fetch HEAD:\./dvc\.lock now"):
        blobs(["HEAD:./dvc.lock"])


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
