"""Bad inputs, made from the schema and written by hand: each must be told in one line, and lose nothing.

    python tests/bad_inputs.py              all of them, after a real `dvc repro`
    python tests/bad_inputs.py --short      without those that take seconds, and with few of those made from the schema

Told means: exit code 2, one `error:` line that holds the word given with the case, no traceback; models, reports, data
and `dvc.lock` are as they were, and no training has kept a state. Each runs as the command itself does
(`src.core.errors.command`), in a process forked from one that has imported everything. Prints a row for each kind
(`docs/reliability.md` holds them); exits with 1 if any is not told.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from forked import CHECKING, prepare, run  # noqa: E402 (after the path)

SCHEMA = "params.yaml: "
MEMORY = Path("/dev/shm")  # removing a case's folder from a disk takes longer than the case
EVERY = 59  # short: of the cases that the schema makes, every so many
KEPT = ("data/raw", "data/prepared", "models", "reports", "dvc.lock", ".cache/state")
MODULES = (*CHECKING, *(f"src.{name}" for name in ("predict", "export", "report", "promote", "track", "tune", "seeds")))
MODULES += ("src.recover", "src.summary", "src.search.session", "src.tracking.sync", "torchvision.models")
LINKED = ("src", "stages", "recipes", "requirements.lock", "pyproject.toml")  # which no case changes

Harm = Callable[[Path], object]


class Case(NamedTuple):
    kind: str
    name: str
    harm: Harm  # what is done to the folder that holds a finished run
    command: str  # module and arguments
    told: str = ""  # must be in the line; "": nothing is wrong, and the exit code is 0
    before: Sequence[str] = ()  # commands that succeed
    environment: Mapping[str, str] = {}
    user: bool = False  # as a user who is not root, whom permissions do not bind
    slow: bool = False  # takes seconds


def good_run(folder: Path, *, whole: bool) -> Path:
    """A clone with a finished run of one epoch; if not `whole`, without its pictures and DVC's cache, and with the lock
    of another run."""
    from answer_tables import lock
    from clones import committed, copy_of_the_repository, substitute

    copy_of_the_repository(folder)
    substitute(folder / "params.yaml", "epochs: 30", "epochs: 1 ")
    if whole:
        committed(folder)
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["dvc", "repro", "--quiet"], cwd=folder, env=environment, check=True)
        shutil.rmtree(folder / ".dvc/cache")
        shutil.rmtree(folder / ".git")
    for name in LINKED:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink()
        (folder / name).symlink_to(ROOT / name)
    for name in ("tests", "benchmarks", "docs", ".github"):
        shutil.rmtree(folder / name)
    if not whole:
        lock(folder)
        for module in ("stages.download", "stages.split", "stages.train", "stages.evaluate"):
            code, output = run(folder, module)
            assert code == 0, output
    return committed(folder)


def state(folder: Path) -> dict[str, str]:
    """A digest of every file that a run leaves, and of whatever lies beside them."""
    found = {}
    for name in KEPT:
        for path in [folder / name, *sorted((folder / name).rglob("*"))]:
            if path.is_file() and path.parent.name != "state":  # there lie the locks of trainings
                found[path.relative_to(folder).as_posix()] = hashlib.md5(path.read_bytes()).hexdigest()
            elif path.is_symlink():
                found[path.relative_to(folder).as_posix()] = str(path.readlink())
    return found


def check(case: Case, template: Path, folder: Path) -> Iterator[str]:
    """What went wrong with the case."""
    if not folder.exists():
        shutil.copytree(template, folder, symlinks=True)
    if case.user:
        for path in [folder, *folder.rglob("*")]:
            if os.getuid() == 0 and not path.is_symlink():
                os.chown(path, 65534, 65534)
    case.harm(folder)
    for line in case.before:
        code, output = run(folder, line, case.environment)
        if code:
            yield f"{line} failed before:\n{output}"
            return
    before = state(folder)
    code, output = run(folder, case.command, case.environment, user=case.user)
    told = re.findall(r"^(?:[\w.]+: )?error: (.*)", output, re.MULTILINE)
    if case.told:
        if code != 2 or len(told) != 1 or "Traceback" in output:
            yield f"exit code {code}:\n{output}"
        elif case.told not in told[0]:
            yield f"{case.told!r} is not in: {told[0]}"
        if changed := sorted(name for name, _ in before.items() ^ state(folder).items()):
            yield f"changed: {', '.join(dict.fromkeys(changed))}"
    elif code or told:
        yield f"exit code {code}:\n{output}"


def schema_cases(every: int) -> Iterator[Case]:
    from bad_params import bad_parameters

    commands = cycle(CHECKING)  # each of them checks the whole file
    for number, bad in enumerate(bad_parameters()):
        if number % every == 0:
            yield Case(f"{SCHEMA}{bad.kind}", bad.name, _writing(bad.text), next(commands), bad.told)


def _writing(text: str) -> Harm:
    return lambda folder: (folder / "params.yaml").write_text(text, encoding="utf-8")


def table(counts: Mapping[str, int], seconds: Mapping[str, float], wrong: Mapping[str, int]) -> str:
    lines = ["| bad input | count | not told | seconds each |", "|---|---|---|---|"]
    lines += [
        f"| {kind} | {count} | {wrong.get(kind, 0)} | {seconds[kind] / count:.2f} |" for kind, count in counts.items()
    ]
    return "\n".join(lines)


def run_all(cases: Iterable[Case], folder: Path, *, whole: bool) -> int:
    """The number of cases that are not told properly."""
    template = good_run(folder / "good", whole=whole)
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    for number, case in enumerate(cases):
        started = time.perf_counter()
        # Those of the schema change nothing but one file, which the next one writes again.
        place = folder / (SCHEMA if case.kind.startswith(SCHEMA) else str(number))
        if faults := list(check(case, template, place)):
            wrong[case.kind] += 1
            print(f"{case.kind}: {case.name}: {case.command}", *faults, sep="\n  ", flush=True)
        if place.name != SCHEMA:
            shutil.rmtree(place)
        counts[case.kind] += 1
        seconds[case.kind] += time.perf_counter() - started
    print(table(counts, seconds, wrong))
    print(f"{counts.total()} inputs, {wrong.total()} not told properly, {sum(seconds.values()):.0f} s")
    return wrong.total()


def cli() -> None:
    from bad_cases import CASES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="what a test suite has time for")
    parser.add_argument("--only", default="", help="only cases whose kind or name holds this")
    arguments = parser.parse_args()
    prepare(*MODULES)
    cases = [*CASES, *schema_cases(EVERY if arguments.short else 1)]
    chosen = [
        case for case in cases if arguments.only in f"{case.kind} {case.name}" and not (arguments.short and case.slow)
    ]
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        Path(folder).chmod(0o755)  # another user works there
        wrong = run_all(chosen, Path(folder).resolve(), whole=not arguments.short)
    sys.stdout.flush()
    os._exit(bool(wrong))  # a clean end would tell of leaks in what torch imports


if __name__ == "__main__":
    cli()
