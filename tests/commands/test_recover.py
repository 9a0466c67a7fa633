"""Files that DVC cannot read are repaired or named before `make repro` starts it."""

import os
from pathlib import Path

import pytest
from clones import committed, git

from src import recover
from src.core.errors import UserError
from src.core.paths import IMAGES, LOCK, LOCKS, RWLOCK

GOOD = """schema: '2.0'
stages:
  split:
    cmd: python -m stages.split
    deps:
    - path: stages/split.py
      hash: md5
      md5: 4c6ae2bfc7d5c6c5bd2c7a2d4b2a2c1d
      size: 512
    params:
      params.yaml:
        data.limit:
        split.seed: 0
    outs:
    - path: data/prepared/dataset.json
      hash: md5
      md5: 8d777f385d3dfec8815d20f7496026dc
      size: 4
"""


@pytest.fixture(autouse=True)
def _clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a repository in which a `dvc.lock` is committed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["recover"])
    LOCK.write_text(GOOD, encoding="utf-8")
    RWLOCK.parent.mkdir(parents=True)
    committed(tmp_path)


@pytest.mark.parametrize("content", [GOOD, "schema: '2.0'\n"], ids=["complete", "no stages"])
def test_what_dvc_can_read_is_left_alone(content: str) -> None:
    LOCK.write_text(content, encoding="utf-8")
    RWLOCK.write_text("{}", encoding="utf-8")
    recover.main()
    assert LOCK.read_text(encoding="utf-8") == content
    assert RWLOCK.exists()


def test_a_lock_in_which_git_left_conflicts_is_named_and_left_to_its_user() -> None:
    content = f"{GOOD}<<<<<<< ours\n=======\n>>>>>>> theirs\n"
    LOCK.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"^dvc\.lock has conflicts that git left: .*git checkout --theirs "):
        recover.main()
    assert LOCK.read_text(encoding="utf-8") == content


CUT = [GOOD[: GOOD.rindex(end) + len(end)] for end in ("cmd:", "      size:", "deps:\n", "params.yaml:\n", "    has")]


@pytest.mark.parametrize("broken", ["", *CUT], ids=range(len(CUT) + 1))
def test_a_lock_that_is_cut_off_becomes_the_committed_one_also_where_it_is_yaml(broken: str) -> None:
    LOCK.write_text(broken, encoding="utf-8")
    recover.main()
    assert LOCK.read_text(encoding="utf-8") == GOOD
    assert RWLOCK.with_name("dvc.lock.broken").read_text(encoding="utf-8") == broken


@pytest.mark.parametrize("content", [b"", b'{"write": {"/a": {"pid', b"\xff"])
def test_an_rwlock_that_is_cut_off_is_removed(content: bytes) -> None:
    RWLOCK.write_bytes(content)
    recover.main()
    assert not RWLOCK.exists()
    assert LOCK.read_text(encoding="utf-8") == GOOD


def test_a_lock_that_was_never_complete_is_removed(tmp_path: Path) -> None:
    search = LOCKS[1]
    search.parent.mkdir()
    search.touch()
    LOCK.write_text("stages: {train", encoding="utf-8")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "broken")
    recover.main()
    assert not LOCK.exists()
    assert not search.exists()


def test_a_photo_whose_name_is_not_utf8_is_named() -> None:
    (IMAGES / "cat").mkdir(parents=True)
    (IMAGES / "cat" / "é.png").touch()
    recover.main()
    Path(os.fsdecode(b"data/images/cat/caf\xe9.png")).touch()
    with pytest.raises(
        UserError, match=r"^data/images/cat/caf\\xe9\.png: the name is not UTF-8, which DVC needs: rename"
    ):
        recover.main()
