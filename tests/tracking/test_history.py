"""The committed `dvc.lock` files."""

from pathlib import Path

import pytest

from src.tracking import history


def test_of_many_committed_locks_only_those_asked_for_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To read one takes 50 ms, and every change of the code commits one more with the same model."""
    read: list[bytes] = []

    def state_in(text: bytes, commit: str) -> history.State:
        read.append(text)
        return history.State(commit, "model", None, {})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(history, "git", lambda *arguments: "found")
    monkeypatch.setattr(history, "versions", lambda path: [("new", b"model 2"), ("old", b"model 1")])
    monkeypatch.setattr(history, "state_in", state_in)
    assert next(history.states("model")).commit == "new"
    assert read == [b"model 2"]
