"""Every benchmark that applies on a device, in one call, and then `benchmarks/README.md`.

    python -m benchmarks.everything --device cuda            a GPU: some hours, most of them `benchmarks.systems`
    python -m benchmarks.everything --device cpu             a processor, on a quiet machine
    python -m benchmarks.everything --device cuda --parts loops switches

Each part is a program of its own that keeps its results as it goes. A part that fails does not stop the others: it is
named at the end, and the exit code is 1.
"""

import argparse
import os
import subprocess
import sys
import time

from benchmarks.systems import ARCHIVES
from src.faults import command


def parts(device: str, data: str) -> dict[str, list[list[str]]]:
    """The arguments of each part's calls. A GPU is fed by as many processes as there are cores, up to 8."""
    images = ["--data", data]
    quick: dict[str, list[list[str]]] = {"overhead": [[]], "pipeline": [["digits", "--runs", "3"]]}
    on = ["--device", device]
    both = {"growth": [on], "augmentation": [on]}
    if device == "cpu":
        threads = [[*on, *images, "--threads", count] for count in ("1", "2")]
        alone: dict[str, list[list[str]]] = {"memory": [[]], "scaling": [[]], "choices": [[]]}
        return {"loops": threads, "switches": [[*on, "--compile"]], **alone, **both, **quick}
    workers = str(min(8, os.cpu_count() or 1))
    small = [name for name in ARCHIVES if name != "dogs-vs-cats"]  # which has too few photos to fill so many queues
    switches = [*on, "--threads", "1", "--compile", "--precisions", "float32", "bfloat16", "float16"]
    return {
        "loops": [
            [*on, *images, "--workers", workers, "--systems", *small],
            [*on, *images, "--workers", "2", "--systems", "dogs-vs-cats"],
        ],
        "reaching": [[*on, *images]],
        "switches": [switches],
        **both,
        **quick,
        "systems": [images],
    }


def main() -> None:
    names = list(parts("cuda", ""))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="../shared/datasets", help="folder of the archives")
    parser.add_argument("--parts", nargs="+", choices=names, metavar="PART", help=f"of {', '.join(names)}")
    arguments = parser.parse_args()
    chosen = {
        name: calls
        for name, calls in parts(arguments.device, arguments.data).items()
        if not arguments.parts or name in arguments.parts
    }
    failed = []
    for name, calls in chosen.items():
        for call in calls:
            whole = ["-m", f"benchmarks.{name}", *call]
            print(f"== python {' '.join(whole)}", flush=True)
            started = time.perf_counter()
            code = subprocess.run([sys.executable, *whole], check=False).returncode
            print(f"== {name}: {time.perf_counter() - started:.0f} s, exit code {code}", flush=True)
            failed += [name] * bool(code)
    subprocess.run([sys.executable, "-m", "benchmarks.report"], check=True)
    if failed:
        sys.exit(f"failed: {', '.join(dict.fromkeys(failed))}")


if __name__ == "__main__":
    command(main)
