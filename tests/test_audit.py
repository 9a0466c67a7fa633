"""What the audit of the locks says: vulnerabilities fail, a database that cannot be reached does not."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clones import ROOT

CLEAN = {"name": "requests", "version": "2.0", "vulns": []}
WEAK = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
STRANGE = {"name": "torch", "skip_reason": "not found"}


def audit(folder: Path, answers: list[dict[str, Any]] | None, errors: str = "") -> tuple[int, str]:
    """Exit code and output of the audit, with another pip-audit in its place. None: it writes no report."""
    program = folder / "pip-audit"
    lines = [
        f"#!{sys.executable}",
        "import json, sys",
        f"answers = {answers!r}",
        "asked = ''.join(open(file).read() for key, file in zip(sys.argv, sys.argv[1:]) if key == '--requirement')",
        "if answers is not None:",
        "    known = [answer for answer in answers if f\"{answer['name']}==\" in asked]",
        "    json.dump({'dependencies': known}, open(sys.argv[sys.argv.index('--output') + 1], 'w'))",
        f"sys.stderr.write({errors!r})",
        f"sys.exit({int(bool(errors))})",
    ]
    program.write_text("\n".join(lines))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(
        [sys.executable, ".ci/audit.py"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("answers", "errors", "code", "words"),
    [
        ([CLEAN], "", 0, "0 known vulnerabilities in 1 packages"),
        ([CLEAN, STRANGE], "", 0, "0 known vulnerabilities in 1 packages; not in the database: torch"),
        ([CLEAN, WEAK], "Found 1 known vulnerability", 1, "pillow 1.0: CVE-1, mended in 1.1"),
        ([{"name": "requests", "skip_reason": "not found"}, STRANGE], "", 0, "skipped: the database"),
        (None, "ERROR: Could not connect to PyPI's vulnerability feed", 0, "skipped: the database"),
        (None, "Traceback…\nrequests.exceptions.ConnectionError: refused", 0, "skipped: the database"),
        (None, "ERROR: invalid requirement", 1, "error: pip-audit failed: ERROR: invalid requirement"),
    ],
)
def test_what_the_audit_says(
    answers: list[dict[str, Any]] | None, errors: str, code: int, words: str, tmp_path: Path
) -> None:
    returned, told = audit(tmp_path, answers, errors)
    assert (returned, words in told) == (code, True), told
