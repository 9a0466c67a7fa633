"""Everything that needs a GPU, in one call on a machine that has one, and no network.

    python -m benchmarks.gpu pack                                       here: fills .gpu/ with what that machine lacks
    python3 -m benchmarks.gpu run --minutes 9 --out FOLDER              there: FOLDER/gpu.json, rewritten as parts end
    python -m benchmarks.gpu run --device cpu --minutes 2 --out FOLDER  the same parts, small, on a processor
    python -m benchmarks.gpu keep FOLDER/gpu.json                       here: to benchmarks/gpu.json and README.md

`pack` takes wheels of the versions in requirements.lock, and the archives in the folder `--data`. `run` needs torch,
torchvision, pandas, pyarrow, Pillow, scipy, scikit-learn, safetensors, psutil, filelock, requests and tqdm to be there,
and pytest with pytest-xdist for the marked tests. `--parts` runs some alone; `keep` then replaces these and leaves the
others.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, command_line
from benchmarks.gpu import pack, runner
from benchmarks.gpu.runner import Part
from src.core.errors import UserError, command

TOGETHER = {"cuda": 12, "cpu": 2}  # parts that run beside each other, where they take no times
_SYSTEMS = ("mnist", "cifar10-basic", "fashion-mnist", "cifar10-vgg", "dogs-vs-cats")
_COMPILED = ("cifar10-speed", *_SYSTEMS)
# In order of their worth: first those that run beside each other, then those that take times.
PARTS = [
    Part("device", "benchmarks.gpu.machine:device", 60, alone=True),
    Part("images", "benchmarks.gpu.machine:images", 120),
    Part("tests", "benchmarks.gpu.machine:tests", 240, argument="tests/compute/test_cuda.py"),
    *(Part(f"compiling {system}", "benchmarks.gpu.trainings:compiling", 120, argument=system) for system in _COMPILED),
    *(Part(f"loops {system}", "benchmarks.gpu.speeds:every_loop", 80, True, system) for system in _SYSTEMS),
    Part("sizes", "benchmarks.gpu.speeds:sizes", 60, alone=True),
    Part("cifar10-speed", "benchmarks.gpu.trainings:speed", 120, alone=True),
    Part("reaching", "benchmarks.gpu.trainings:reaching", 150, alone=True),
]


def main() -> None:
    parser = command_line(__doc__ or "")
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="fill .gpu/")
    packing.add_argument("--data", type=Path, default=DATA, help="folder of the archives")
    running = commands.add_parser("run", help="run the parts")
    running.add_argument("--device", choices=list(TOGETHER), default="cuda")
    running.add_argument("--minutes", type=float, default=9)
    running.add_argument("--out", type=Path, required=True, help="folder of gpu.json")
    names = [part.name for part in PARTS]
    running.add_argument("--parts", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    commands.add_parser("keep", help="add results to the page").add_argument("file", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "pack":
        print(pack.pack(pack.PACK, arguments.data))
    elif arguments.command == "run":
        run(arguments.device, arguments.minutes, arguments.out, arguments.parts)
    else:
        from benchmarks import report

        print(report.keep_gpu(arguments.file))


def run(device: str, minutes: float, out: Path, names: list[str]) -> None:
    """Run the parts and print what came out. Raises `UserError` where one failed."""
    with tempfile.TemporaryDirectory() as installed:
        wheels = sorted(Path(pack.PACK, "wheels").glob("*.whl")) if sys.version_info[:2] == pack.PYTHON else []
        if wheels:
            install(wheels, installed)
        parts = [part for part in PARTS if part.name in names]
        out.mkdir(parents=True, exist_ok=True)
        place = runner.Place(device, pack.PACK)
        record = runner.run(parts, place, out / "gpu.json", 60 * minutes, TOGETHER[device])
    for name, report in record["parts"].items():
        print(f"\n{name:<25}{report['state']:<26}{report.get('seconds', '')}")
        for line in [f"{key}: {json.dumps(value)}" for key, value in report.get("found", {}).items()]:
            print(f"  {line}"[:200])
        for line in report.get("error", []):
            print(f"  ! {line}"[:200])
    if failed := [name for name, report in record["parts"].items() if report["state"] == runner.FAILED]:
        raise UserError(f"{', '.join(failed)} failed: {out / 'gpu.json'} has the last lines of each")


def install(wheels: list[Path], folder: str) -> None:
    """Unpack wheels into a folder that every process that is started from now on looks into first."""
    options: list[Any] = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target", folder]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *wheels], check=True)
    paths = [folder, str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    sys.path.insert(0, folder)


if __name__ == "__main__":
    command(main)
