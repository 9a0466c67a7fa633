"""What `train.deterministic: portable` costs, and which bits it gives on this processor.

    python -m benchmarks.portable
    python -m benchmarks.portable --recipes digits cifar10-vgg --rounds 9

Bits: 300 steps of Adam on a small network with batch norm, pooling, GELU and dropout, once for each setting;
processors agree where the MD5 of the weights is the same. Speed: our loop, in a process of its own for each setting;
they take turns, in an order that is reversed every round, and what counts are seconds of processor. Both in float32, on
one thread, on noise.

Keeps its results in `benchmarks/portable.json`; `docs/reproducibility.md` has the table of all processors.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.common import FOLDER, command_line, hardware, keep, summary, versions
from src.compute.portable import SETTINGS
from src.core.errors import command

RESULTS = FOLDER / "portable.json"
CASES: dict[str, dict[str, str]] = {
    "nothing set": {},
    "portable": SETTINGS,
    "portable, but MKL_CBWR=AVX2": SETTINGS | {"MKL_CBWR": "AVX2"},
}
STEPS = {"digits": 200}  # of a turn; of the other recipes 10


def main() -> None:
    parser = command_line(__doc__ or "")
    parser.add_argument("--recipes", nargs="*", default=["digits", "cifar10-basic"], metavar="RECIPE")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300, help="of the training whose bits are compared")
    parser.add_argument("--inner", nargs=2, metavar=("WHAT", "VALUE"), help="in the process of one setting")
    arguments = parser.parse_args()
    if arguments.inner:
        what, value = arguments.inner
        print(bits(int(value)) if what == "bits" else turn(value))
        return
    found = {}
    for case in CASES:
        with started(case, "bits", str(arguments.steps)) as process:
            found[case] = process.communicate()[0].strip()
    speed = {recipe: speeds(recipe, arguments.rounds) for recipe in arguments.recipes}
    result = {"hardware": hardware(), "versions": versions("torch", "numpy"), "bits": found, "speed": speed}
    print(json.dumps(result, indent=1))
    keep(RESULTS, result, same=())


def started(case: str, *inner: str) -> subprocess.Popen[str]:
    """Start a process of its own with the settings of one case, none of them from outside."""
    outside = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    command = [sys.executable, "-m", "benchmarks.portable", "--inner", *inner]
    return subprocess.Popen(command, env=outside | CASES[case], stdout=subprocess.PIPE, text=True)


def speeds(recipe: str, rounds: int) -> dict[str, Any]:
    """Return seconds of processor for a turn, and their ratio to those of the first case, round by round."""
    taken: dict[str, list[float]] = {case: [] for case in CASES}
    for number in range(rounds):
        for case in list(CASES)[:: -1 if number % 2 else 1]:
            with started(case, "speed", recipe) as process:
                taken[case].append(float(process.communicate()[0]))
    first = taken["nothing set"]
    ratios = {case: [a / b for a, b in zip(own, first, strict=True)] for case, own in taken.items()}
    return {case: {"seconds": summary(taken[case]), "of_nothing_set": summary(ratios[case])} for case in CASES}


def turn(recipe: str) -> float:
    """Return the seconds of processor of some steps of the recipe, after as many that warm up."""
    from benchmarks.contenders import ours
    from benchmarks.problems import synthetic

    known = synthetic(recipe, 2048)
    plain = {"deterministic": True, "device": "cpu", "precision": "float32", "threads": 1, "compile": False}
    train = ours(known, known.params.train.model_copy(update=plain), STEPS.get(recipe, 10))
    train()
    began = time.process_time()
    train()
    return time.process_time() - began


def bits(steps: int) -> str:
    """Train on noise; return the MD5 of the weights, the last loss, and seconds of processor."""
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
