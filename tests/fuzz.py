# ruff: noqa: E402
"""Spoils real files in many ways and hands each to the reader that would get it: model files, weights, archives, data
set files, images.

    python tests/fuzz.py --count 10000 --seed 0

Every file is read in a process that is watched: it is accepted, or refused by one line (`UserError`, `Unreadable`).
A fault is anything else: another exception, a crash, more than 30 s, more than 1 GiB of memory, a file changed
outside of the reader's folder, a program or a connection started. Prints a row for each kind of file
(`docs/reliability.md` has them); keeps what went wrong as a file, and exits with 1. Linux only.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # as pytest does

import numpy as np
import torch
from data_samples import run_stages
from fuzz_bytes import Sample, mutated
from fuzz_models import WEIGHTS
from fuzz_samples import samples

from src import params
from src.core.errors import UserError
from src.data.archives import is_archive, members
from src.data.formats import own_file, read_own_file
from src.data.images import Fit, Unreadable, decode, is_image
from src.data.prepared import ImageFormat
from src.models.build import build
from src.prediction.model import load

SECONDS = 30
MEMORY = 2**30  # bytes
MESSAGE = 4000  # characters of a refusal
# How often a kind of file is taken: weights take longest to read.
SHARES = {"model files": 30, "weights": 4, "archives": 24, "data set files": 16, "images": 26}
_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
_CODE = ("pickle.find_class",)
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate")


class Outcome(NamedTuple):
    """What reading one file gave. `wrong` is empty for what is accepted or refused."""

    accepted: bool
    seconds: float
    memory: int  # bytes more than before, at most
    wrong: str


@dataclass
class Row:
    mutated: int = 0
    accepted: int = 0
    slowest: float = 0.0
    memory: int = 0


class Harm(BaseException):
    """Something that no reader may do. Not an `Exception`: none may swallow it."""


def case(number: int, seed: int, made: list[Sample]) -> tuple[Sample, bytes, random.Random]:
    """The sample of that number, what it became, and the chance that goes on to choose how it is read."""
    chance = random.Random(f"{seed} {number}")
    (kind,) = chance.choices(list(SHARES), list(SHARES.values()))
    alike = [sample for sample in made if sample.kind == kind]
    sample = chance.choice(alike)
    return sample, mutated(sample, alike, chance), chance


def read(sample: Sample, data: bytes, chance: random.Random) -> None:
    """As the pipeline, or a user's command, would. Raises what the reader raises."""
    path = Path(sample.name)
    path.write_bytes(data)
    match sample.kind:
        case "model files":
            model = load(path.name)
            wanted = model.spec.image
            if wanted.height * wanted.width <= 10_000:
                model.probabilities(np.zeros((1, wanted.height, wanted.width, wanted.channels), np.uint8))
        case "weights":
            image = ImageFormat(height=32, width=32, channels=3, resize=None)
            network = {"name": WEIGHTS, "weights": path.name, "freeze": False, "activation": None, "dropout": 0.0}
            build(params.Model.model_validate({**network, "normalize": "half"}), image, 2, [0.5], [0.5])
        case "archives" if chance.random() < 0.3:
            run_stages(path, skip_unreadable=chance.random() < 0.5)
        case "archives":
            if is_archive(path):
                for member in members(path):
                    if chance.random() < 0.9:
                        member.read()
        case "data set files":
            dataset = "cifar10" if path.name.startswith("data_batch") else "mnist"
            assert own_file(dataset, path.name)
            read_own_file(dataset, path.name, data)
        case _:
            is_image(data)
            decode(data, chance.choice((None, Fit(32, "crop"), Fit(32, "squash"), Fit(32, "pad"))))


def watched(sample: Sample, data: bytes, chance: random.Random) -> Outcome:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before, space = _status("VmRSS"), _status("VmSize")
    highest = _status("VmPeak")
    started = time.monotonic()
    accepted, wrong = False, ""
    try:
        read(sample, data, chance)
        accepted = True
    except (UserError, Unreadable) as refusal:
        if len(str(refusal)) > MESSAGE:
            wrong = f"a message of {len(str(refusal)):,} characters: {str(refusal)[:200]}"
    except (Exception, Harm) as error:
        wrong = f"{type(error).__name__}: {str(error)[:300]}"
    seconds, memory = time.monotonic() - started, _status("VmHWM") - before
    if (peak := _status("VmPeak")) > highest:  # also what is only reserved
        memory = max(memory, peak - space) if peak - space > MEMORY else memory
    if memory > MEMORY and not wrong:
        wrong = f"{memory / 2**20:,.0f} MiB of memory"
    return Outcome(accepted, seconds, max(memory, 0), wrong)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def _guard(folder: Path) -> None:
    """From now on raises `Harm` where this process changes something outside of the folder, or starts something."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STARTS or event in _CODE:
            raise Harm(f"{event}{arguments!r:.200}")
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            _inside(folder, event, arguments[0])
        if event in _CHANGES:
            for path in arguments:
                if isinstance(path, str | bytes | os.PathLike):
                    _inside(folder, event, path)

    sys.addaudithook(hook)


def _inside(folder: Path, event: str, path: Any) -> None:
    if isinstance(path, int) or os.fspath(path) == "/proc/self/clear_refs":
        return
    if not Path(os.path.realpath(os.fsdecode(path))).is_relative_to(folder):
        raise Harm(f"{event} of {path!r}")


def _work(made: list[Sample], seed: int, folder: Path, pipe: Connection) -> None:
    """Reads the files whose numbers come through the pipe, each in a folder that is emptied before."""
    sys.dont_write_bytecode = True
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # libraries in C write there too
        os.dup2(nowhere, stream)
    warnings.simplefilter("ignore")
    target = folder / "target"
    target.mkdir()
    (folder / "beside").write_text("untouched")
    os.chdir(target)
    os.environ["TMPDIR"] = tempfile.tempdir = str(target)
    _guard(target)
    while True:
        outcome = watched(*case(pipe.recv(), seed, made))
        around = sorted(path.name for path in folder.iterdir())
        if around != ["beside", "target"] or (folder / "beside").read_text() != "untouched":
            outcome = outcome._replace(wrong=f"changed around its folder: {around}")
        pipe.send(outcome)
        _empty(target)


def _empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()


class Worker:
    def __init__(self, made: list[Sample], seed: int, folder: Path) -> None:
        self.made, self.seed, self.folder = made, seed, folder
        self.process: ForkProcess | None = None

    def start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        place = Path(tempfile.mkdtemp(dir=self.folder))
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_work, args=(self.made, self.seed, place, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def read(self, number: int) -> Outcome:
        if self.process is None:
            self.start()
        assert self.process is not None
        self.pipe.send(number)
        try:
            if self.pipe.poll(SECONDS):
                outcome: Outcome = self.pipe.recv()
                return outcome
            wrong = f"more than {SECONDS} s"
        except EOFError:
            self.process.join()
            wrong = f"the process died: exit code {self.process.exitcode}"
        self.end()
        return Outcome(False, SECONDS, 0, wrong)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None


def fuzz(numbers: range, seed: int, made: list[Sample], folder: Path) -> Iterator[tuple[int, Outcome]]:
    worker = Worker(made, seed, folder)
    try:
        for number in numbers:
            yield number, worker.read(number)
    finally:
        worker.end()


def table(rows: dict[str, Row]) -> str:
    lines = ["| kind of file | mutated | accepted | refused | slowest | most memory |", "|---|---|---|---|---|---|"]
    for kind, row in rows.items():
        numbers = f"{row.mutated:,} | {row.accepted:,} | {row.mutated - row.accepted:,}"
        lines.append(f"| {kind} | {numbers} | {row.slowest:.2f} s | {row.memory / 2**20:,.0f} MiB |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0, help="number of the first, to see one again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "fuzz"), help="for what went wrong")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = {kind: Row() for kind in SHARES}
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        made = samples(Path(temporary))
        numbers = range(arguments.start, arguments.start + arguments.count)
        for number, outcome in fuzz(numbers, arguments.seed, made, Path(temporary)):
            sample, data, _ = case(number, arguments.seed, made)
            row = rows[sample.kind]
            row.mutated += 1
            row.accepted += outcome.accepted
            row.slowest, row.memory = max(row.slowest, outcome.seconds), max(row.memory, outcome.memory)
            if outcome.wrong:
                wrong += 1
                kept = arguments.keep / f"{arguments.seed}-{number}-{sample.name}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(data)
                print(f"{number} {kept}: {outcome.wrong}", flush=True)
    print(table(rows))
    print(f"{arguments.count:,} files, {wrong:,} faults")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
