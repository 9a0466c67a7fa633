"""Everything that needs a GPU, in one call on a machine that has one, and no network.

    python -m benchmarks.gpu pack                                       here: fills .gpu/ with what that machine lacks
    python3 -m benchmarks.gpu run --minutes 9 --out FOLDER              there: FOLDER/gpu.json, rewritten as parts end
    python -m benchmarks.gpu run --device cpu --minutes 2 --out FOLDER  the same parts, small, on a processor
    python -m benchmarks.gpu keep FOLDER/gpu.json                       here: to benchmarks/gpu.json and README.md
    python -m benchmarks.gpu choices FOLDER/gpu.json                    here: what train.precision: auto picks there

`pack` takes wheels of the versions in requirements.lock, and the archives in the folder `--data`; `--airbench` names a
clone of KellerJordan/cifar10-airbench, to run beside our recipe. `run` needs torch, torchvision, pandas, scipy,
scikit-learn, safetensors, psutil, filelock and tqdm to be there. `--parts` runs some alone; `keep` then replaces these
and leaves the others.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu import pack, runner
from benchmarks.gpu.parts import PARTS
from src.core.errors import UserError, command

TOGETHER = {"cuda": 14, "cpu": 2}  # parts that run beside each other, where they take no times


def parser() -> argparse.ArgumentParser:
    """Make what reads the command line."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = reader.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="fill .gpu/")
    packing.add_argument("--data", type=Path, default=Path("../shared/datasets"), help="folder of the archives")
    packing.add_argument("--airbench", type=Path, help="folder of its clone")
    running = commands.add_parser("run", help="run the parts")
    running.add_argument("--device", choices=list(TOGETHER), default="cuda")
    running.add_argument("--minutes", type=float, default=9)
    running.add_argument("--out", type=Path, required=True, help="folder of gpu.json")
    names = [part.name for part in PARTS]
    running.add_argument("--parts", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    for name, words in {"keep": "add results to the page", "choices": "write the table of precisions"}.items():
        commands.add_parser(name, help=words).add_argument("file", type=Path)
    return reader


def main() -> None:
    arguments = parser().parse_args()
    if arguments.command == "pack":
        print(pack.pack(pack.PACK, arguments.data, arguments.airbench))
    elif arguments.command == "run":
        run(arguments.device, arguments.minutes, arguments.out, arguments.parts)
    else:
        from benchmarks.gpu import results

        print({"keep": results.keep, "choices": results.choose}[arguments.command](results.load(arguments.file)))


def run(device: str, minutes: float, out: Path, names: list[str]) -> None:
    """Run the parts; say what came out, at the end in a table. Raises `UserError` where one failed."""
    with tempfile.TemporaryDirectory() as installed:
        if Path(pack.PACK, "wheels").is_dir() and sys.version_info[:2] == pack.PYTHON:
            install(sorted(Path(pack.PACK, "wheels").glob("*.whl")), installed)
        parts = [part for part in PARTS if part.name in names]
        out.mkdir(parents=True, exist_ok=True)
        place = runner.Place(device, pack.PACK)
        record = runner.run(parts, place, out / "gpu.json", 60 * minutes, TOGETHER[device])
    print(table(record))
    if failed := [name for name, report in record["parts"].items() if report["state"] == runner.FAILED]:
        raise UserError(f"{', '.join(failed)} failed: {out / 'gpu.json'} has the last lines of each")


def install(wheels: list[Path], folder: str) -> None:
    """Unpack wheels into a folder that every process that is started from now on looks into first."""
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target", folder]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *map(str, wheels)], check=True)
    paths = [folder, str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    sys.path.insert(0, folder)


def table(record: dict[str, Any]) -> str:
    """Tell each part's state and seconds, and below it what it found, a line for each thing."""
    lines = [""]
    for name, report in record["parts"].items():
        lines.append(f"{name:<25}{report['state']:<26}" + (f"{report['seconds']} s" if "seconds" in report else ""))
        lines += [f"  {key}: {short(value)}"[:200] for key, value in report.get("found", {}).items()]
        lines += [f"  ! {line}"[:200] for line in report.get("error", [])]
    return "\n".join(lines)


def short(value: Any) -> str:
    """Tell a value in one line; of a spread the median."""
    if isinstance(value, dict):
        spread = value.get("median")
        return f"{spread:,}" if spread is not None else "; ".join(f"{key} {short(one)}" for key, one in value.items())
    return ", ".join(map(short, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    command(main)
