"""Look up the packages of all locks in the database of known vulnerabilities, by pip-audit.

The exit code is 1 if there are any. If the database cannot be reached, one line says so, and that is no failure.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCKS = sorted(Path().glob("requirements*.lock"))
# A package that the database must know: some mirrors of the package index answer, but know no vulnerabilities.
PROBE = "requests"
# Words of pip-audit where a connection failed; its exit code is 1 then, too.
UNREACHABLE = re.compile("could not connect|connection ?error|httperror|serviceerror|timeout|redirecting", re.I)


class Unreachable(Exception):
    pass


def main() -> None:
    names = ", ".join(lock.name for lock in LOCKS)
    texts = [lock.read_text(encoding="utf-8") for lock in LOCKS]
    probe = re.search(rf"^{PROBE}==(?:.*\\\n)*.*\n", "".join(texts), re.MULTILINE)
    try:
        if probe is None or not look_up([probe[0]])[0]:
            raise Unreachable("it does not know the packages")
        found, unknown = look_up(texts)
    except Unreachable as reason:
        print(f"audit of {names} skipped: the database of vulnerabilities cannot be reached ({reason})")
        return
    vulnerabilities = [(package, each) for package in found for each in package["vulns"]]
    print(f"audit of {names}: {len(vulnerabilities)} known vulnerabilities in {len(found)} packages", end="")
    print(f"; not in the database: {', '.join(unknown)}" if unknown else "")
    for package, each in vulnerabilities:
        fixed = ", ".join(each["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    sys.exit(bool(vulnerabilities))


def look_up(requirements: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the entries of the packages that the database knows, and the names of the others. Raise `Unreachable`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = ["pip-audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off", "--timeout", "10"]
        command += ["--format", "json", "--output", str(report)]
        for number, text in enumerate(requirements):
            file = Path(folder, f"{number}.txt")
            file.write_text(text, encoding="utf-8")
            command += ["--requirement", str(file)]
        run = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if report.is_file():
            found = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
            unknown = [package["name"] for package in found if "skip_reason" in package]
            return [package for package in found if "skip_reason" not in package], unknown
    reason = (run.stderr.strip().splitlines() or ["it printed no reason"])[-1]
    if UNREACHABLE.search(run.stderr):
        raise Unreachable(reason)
    sys.exit(f"error: pip-audit failed: {reason}")


if __name__ == "__main__":
    main()
