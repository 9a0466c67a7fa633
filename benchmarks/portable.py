"""What `train.deterministic: portable` costs, and which bits it gives on this processor.

    python -m benchmarks.portable
    python -m benchmarks.portable --recipes digits cifar10-vgg --rounds 9

Bits: 300 steps of Adam on a small network with batch norm, pooling, GELU and dropout, once for each setting;
processors agree where the MD5 of the weights is the same. Speed: our loop, in a process of its own for each setting;
they take turns, in an order that is reversed every round, and what counts are seconds of processor, of training and of
evaluating a quarter as many images. Both in float32, on one thread, on noise.

Keeps its results in `benchmarks/portable.json`; `docs/reproducibility.md` has the table of all processors.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.common import hardware, keep, summary, versions
from src.compute.portable import CONFLICTING, SETTINGS
from src.core.errors import command

RESULTS = Path("benchmarks/portable.json")
CASES: dict[str, dict[str, str]] = {
    "nothing set": {},
    "portable": SETTINGS,
    "portable, but MKL_CBWR=AVX2": SETTINGS | {"MKL_CBWR": "AVX2"},
}
STEPS = {"digits": 200}  # of a turn; of the other recipes 10
WARM = 1  # turns that do not count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="*", default=["digits", "cifar10-basic"], metavar="RECIPE")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300, help="of the training whose bits are compared")
    parser.add_argument("--inner", nargs="+", help=argparse.SUPPRESS)  # what a process of one setting does
    arguments = parser.parse_args()
    if arguments.inner:
        what, value = arguments.inner
        print(bits(int(value)), flush=True) if what == "bits" else take_turns(value)
        return
    result: dict[str, Any] = {"hardware": hardware(), "versions": versions("torch", "numpy"), "bits": {}, "speed": {}}
    for case in CASES:
        with started(case, "bits", str(arguments.steps)) as process:
            result["bits"][case] = process.communicate()[0].strip()
        print(f"{case:<28}{result['bits'][case]}", flush=True)
    for recipe in arguments.recipes:
        result["speed"][recipe] = speeds(recipe, arguments.rounds)
        for case, found in result["speed"][recipe].items():
            print(f"{recipe}, {case}: {found}", flush=True)
    keep(RESULTS, result, same=("hardware",))


def started(case: str, *inner: str) -> subprocess.Popen[str]:
    """A process of its own with the settings of one case, none of them from outside."""
    outside = {key: value for key, value in os.environ.items() if key not in (*SETTINGS, CONFLICTING)}
    command = [sys.executable, "-m", "benchmarks.portable", "--inner", *inner]
    return subprocess.Popen(
        command, env=outside | CASES[case], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def speeds(recipe: str, rounds: int) -> dict[str, Any]:
    """Seconds of processor for a turn, and their ratio to those of the first case, round by round."""
    taken: dict[str, list[float]] = {case: [] for case in CASES}
    with ExitStack() as stack:
        processes = {case: stack.enter_context(started(case, "speed", recipe)) for case in CASES}
        for number in range(WARM + rounds):
            for case, process in list(processes.items())[:: -1 if number % 2 else 1]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write("\n")
                process.stdin.flush()
                taken[case].append(float(process.stdout.readline()))
    first = taken["nothing set"]
    return {
        case: {
            "seconds": summary(own[WARM:]),
            "of_nothing_set": summary([a / b for a, b in zip(own, first, strict=True)][WARM:]),
        }
        for case, own in taken.items()
    }


def take_turns(recipe: str) -> None:
    """For each line that comes in trains some steps of the recipe, and prints the seconds of processor that took."""
    from benchmarks.contenders import ours
    from benchmarks.problems import synthetic

    known = synthetic(recipe, 2048)
    plain = {"deterministic": True, "device": "cpu", "precision": "float32", "threads": 1, "compile": False}
    turn = ours(known, known.params.train.model_copy(update=plain))(STEPS.get(recipe, 10))
    for _ in sys.stdin:
        began = time.process_time()
        turn()
        print(time.process_time() - began, flush=True)


def bits(steps: int) -> str:
    """MD5 of the weights, the last loss, and seconds of processor, of a training on noise."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 64, 128), nn.GELU(), nn.Dropout(0.2), nn.Linear(128, 10),
    ).to(memory_format=torch.channels_last)  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2048, 3, 32, 32, generator=generator).to(memory_format=torch.channels_last)
    labels = (images.mean((1, 2, 3)) * 1000).long() % 10
    began = time.process_time()
    for _ in range(steps):
        batch = torch.randint(2048, (64,), generator=generator)
        loss = nn.functional.cross_entropy(network(images[batch]), labels[batch], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    seconds = time.process_time() - began
    content = b"".join(value.detach().contiguous().numpy().tobytes() for value in network.state_dict().values())
    return f"{hashlib.md5(content).hexdigest()} {loss.item():.8f} {seconds:.1f} s"


if __name__ == "__main__":
    command(main)
