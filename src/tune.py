"""Find better settings, on the validation images alone: the search that `tune` in params.yaml describes.

    python -m src.tune                                    or go on with it, wherever it was stopped
    python -m src.tune --trials 100 --timeout 1h --workers 4
    python -m src.tune --storage postgresql://host/db     on several machines at once: one study
    python -m src.tune --apply                            write what was found into params.yaml, comments kept
    python -m src.tune --apply 7                          write the settings of trial 7

Ctrl-C stops after the running trials, pressed twice at once. Results are in reports/tuning/ and in MLflow.
"""

import argparse
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

from src.compute import portable

if __name__ == "__main__":
    portable.begin()

from src.core import process
from src.core.errors import UserError, command
from src.data.prepared import read_dataset
from src.params import load, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, help="trials in all, those that are known too (instead of tune.trials)")
    parser.add_argument("--timeout", help="no trial begins after so long: 90s, 30m, 2h (instead of tune.timeout)")
    parser.add_argument("--workers", type=int, help="processes that train on this machine (default: one for each GPU)")
    parser.add_argument("--per-gpu", type=int, default=1, help="so many of them share a GPU (default: 1)")
    parser.add_argument("--storage", metavar="URL", help="an Optuna storage instead of a journal in .cache/searches")
    parser.add_argument(
        "--apply", type=int, nargs="?", const=-1, metavar="TRIAL",
        help="write the values found, or those of a trial, into params.yaml, nothing else",
    )  # fmt: skip
    arguments = parser.parse_args()
    process.end_with_dvc()
    params = load()
    changes: dict[str, Any] = {}
    if arguments.trials is not None:
        changes["trials"] = _at_least_1("--trials", arguments.trials)
    if arguments.timeout is not None:
        try:
            seconds(arguments.timeout)
        except ValueError as error:
            raise UserError(f"--timeout is {arguments.timeout}: {error}") from None
        changes["timeout"] = arguments.timeout
    if arguments.workers is not None:
        _at_least_1("--workers", arguments.workers)
    _at_least_1("--per-gpu", arguments.per_gpu)
    params = params.model_copy(update={"tune": params.tune.model_copy(update=changes)})

    if arguments.apply is not None:
        from src.search import best

        best.apply(params, None if arguments.apply == -1 else arguments.apply)
        return
    from src.search import space

    space.distributions(params)  # a fault in it is found at once
    with _prepared():
        from src.search import session  # what takes seconds, while DVC looks whether the data are the right ones
        from src.search.objectives import measure
        from src.search.workers import Workers

    measured = functools.partial(measure, params.tune.objectives)
    with Workers(params, ("train", "validation"), measured, arguments.workers, arguments.per_gpu) as workers:
        session.find(params, arguments.storage, workers)


@contextmanager
def _prepared() -> Iterator[None]:
    """Run `dvc repro split` while the block imports. A stage of DVC does nothing: its data are ready, DVC is locked."""
    if "DVC_STAGE" in os.environ:
        yield
    else:
        with Popen(["dvc", "repro", "split"]) as dvc:
            yield
        if dvc.returncode:
            raise UserError("dvc repro split failed: mend what it says above")
    if not read_dataset().splits["validation"].count:
        raise UserError("a search chooses by validation images, and there are none: set split.validation above 0")


def _at_least_1(name: str, value: int) -> int:
    if value < 1:
        raise UserError(f"{name} is {value}: must be at least 1")
    return value


if __name__ == "__main__":
    command(main)
