"""Ask git from which commit the code comes and how it differs, and for files as commits have them.

Without git less is known, and nothing fails but what asks by `checked_git`.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from src.core.errors import UserError

# Code and what decides how it runs. Results (reports/, dvc.lock) and data change with every run and are not code.
_CODE = ("src", "stages", "dvc.yaml", "pyproject.toml", "requirements.lock")

# `git apply` takes such a patch, whatever the user's configuration of git says.
_PATCH = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")

_CONFLICT = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)  # as git marks it
CONFLICTS = (
    "has conflicts that git left",
    "settle params.yaml and code, then git checkout --theirs '*dvc.lock' reports && dvc repro (docs/machines.md)",
)


class CodeState(NamedTuple):
    commit: str  # "none": no git, no commit yet, or a tree that only lies inside somebody else's repository
    difference: str  # a patch from that commit to the code that ran, untracked code files too; "" if none


def read_code_state() -> CodeState:
    """Read the state of the working tree; write nothing, not even git's index."""
    # An unpacked archive may lie inside another project's repository: that one does not hold our dvc.yaml.
    head = git("rev-parse", "--verify", "--quiet", "HEAD").strip()
    if not head or not git("ls-tree", "HEAD", "dvc.yaml"):
        return CodeState("none", "")
    untracked = git("ls-files", "--others", "--exclude-standard", "-z", "--", *_CODE).split("\0")
    patches = [git("diff", *_PATCH, "HEAD", "--", *_CODE)]
    patches += [git("diff", *_PATCH, "--no-index", "--", "/dev/null", name) for name in sorted(filter(None, untracked))]
    return CodeState(head, "".join(patches))


def git(*arguments: str) -> str:
    """Return what git prints, or "" where it is not installed or refuses; bytes that are not UTF-8 as surrogates."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    except FileNotFoundError:
        return ""
    return output.decode("utf-8", errors="surrogateescape")


def checked_git(*arguments: str) -> bytes:
    """Return what git prints. Raises `UserError` with git's own reason if it refuses."""
    try:
        run = subprocess.run(["git", "--no-optional-locks", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not installed: revisions cannot be read") from None
    if run.returncode:
        reason = run.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"git {arguments[0]}: {reason[0] if reason else 'it refuses'}")
    return run.stdout


def has_conflicts(content: bytes) -> bool:
    """Tell if git left conflicts in the content of a file."""
    return _CONFLICT.search(content) is not None


def diagnosis(content: bytes, problem: str, remedy: str) -> tuple[str, str]:
    """Return why results cannot be read and what to do: what is given, unless git left conflicts in the content."""
    return CONFLICTS if has_conflicts(content) else (problem, remedy)


def versions(path: Path) -> list[tuple[str, bytes]]:
    """Return every version of a file that a commit made, with the commit, newest first.

    Only commits of branches and tags count: DVC keeps experiments as commits, too, in refs of its own.
    """
    # --full-history: also versions on a side of a merge that the merge did not take.
    among = ("--branches", "--tags", "--remotes", "HEAD")
    log = git("log", *among, "--full-history", "--date-order", "--format=%H", "--", path.as_posix())
    commits = log.split()
    contents = blobs([f"{commit}:./{path.as_posix()}" for commit in commits])
    return [(commit, content) for commit, content in zip(commits, contents, strict=True) if content is not None]


def blobs(names: Sequence[str]) -> list[bytes | None]:
    """Return the contents of git objects (`<commit>:./<path>`), by one process; None for those that are missing."""
    if not names:
        return []
    request = "".join(f"{name}\n" for name in names).encode("utf-8", errors="surrogateescape")
    output = subprocess.run(["git", "cat-file", "--batch"], input=request, stdout=subprocess.PIPE, check=False).stdout
    found: list[bytes | None] = []
    at = 0
    for name in names:
        end = output.find(b"\n", at)
        if end < 0:
            raise UserError(f"git cannot read {name}: run git fsck; a partial clone needs its remote to be reached")
        header, at = output[at:end].split(), end + 1
        if header[-1] == b"missing":
            found.append(None)
        else:
            size = int(header[-1])
            found.append(output[at : at + size])
            at += size + 1
    return found
