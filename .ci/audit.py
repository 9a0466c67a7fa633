"""Look the packages of all locks up in the database of known vulnerabilities, by pip-audit.

Exit code 1 where there are any. Where the database cannot be reached, one line says so, and that is no failure.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCKS = sorted(Path().glob("requirements*.lock"))
# Asked for alone at first: some mirrors of the package index answer, but know no vulnerabilities.
PROBE = "requests"
# What pip-audit says of a connection that failed; its exit code is 1 then too.
UNREACHABLE = re.compile("could not connect|connection ?error|httperror|serviceerror|timeout|redirecting", re.I)


class Unreachable(Exception):
    pass


def main() -> None:
    names = ", ".join(lock.name for lock in LOCKS)
    texts = [lock.read_text(encoding="utf-8") for lock in LOCKS]
    probe = re.search(rf"^{PROBE}==(?:.*\\\n)*.*\n", "".join(texts), re.MULTILINE)
    try:
        if probe is None or not known([probe[0]])[0]:
            raise Unreachable("it does not know the packages")
        found, strange = known(texts)
    except Unreachable as reason:
        print(f"audit of {names} skipped: the database of vulnerabilities cannot be reached ({reason})")
        return
    faults = [(package, fault) for package in found for fault in package["vulns"]]
    print(f"audit of {names}: {len(faults)} known vulnerabilities in {len(found)} packages", end="")
    print(f"; not in the database: {', '.join(strange)}" if strange else "")
    for package, fault in faults:
        mended = ", ".join(fault["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {fault['id']}, mended in {mended}")
    sys.exit(bool(faults))


def known(requirements: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what the database has of the packages that it knows, and the names of others. Raises `Unreachable`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = ["pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--timeout", "10"]
        command += ["--format", "json", "--output", str(report)]
        for number, text in enumerate(requirements):
            asked = Path(folder, f"{number}.txt")
            asked.write_text(text, encoding="utf-8")
            command += ["--requirement", str(asked)]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if report.is_file():
            found = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
            strange = [package["name"] for package in found if "skip_reason" in package]
            return [package for package in found if "skip_reason" not in package], strange
    reason = (run.stderr.strip().splitlines() or ["it says nothing"])[-1]
    if UNREACHABLE.search(run.stderr):
        raise Unreachable(reason)
    sys.exit(f"error: pip-audit failed: {reason}")


if __name__ == "__main__":
    main()
