"""Search for better settings on the validation images, as `tune` in params.yaml describes.

    python -m src.tune                                    begin, or go on where the search was stopped
    python -m src.tune --trials 100 --timeout 1h --workers 4
    python -m src.tune --storage postgresql://host/db     the same line on several machines: one search
    python -m src.tune --apply                            write the settings that were found into params.yaml
    python -m src.tune --apply 7                          write the settings of trial 7

Ctrl-C stops after the running trials; a second Ctrl-C stops at once. Results are in reports/tuning/ and in MLflow.
"""

import argparse
import os

from src.compute import portable

if __name__ == "__main__":
    portable.begin()

from src.core import process
from src.core.dvc import run_split
from src.core.errors import UserError, command
from src.data.prepared import read_dataset
from src.params import check, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, help="number of trials, with those of earlier runs (instead of tune.trials)"
    )
    parser.add_argument(
        "--timeout", help="begin no trial after this time: 90s, 30m, 2h (instead of tune.timeout); confirmation follows"
    )
    parser.add_argument(
        "--workers", type=int,
        help="processes that train on this machine, which share its GPUs (default: one for each GPU; without GPUs "
        "one for the search, and as many as the processors allow for its confirmation)",
    )  # fmt: skip
    parser.add_argument("--storage", metavar="URL", help="an Optuna storage instead of a journal in .cache/searches")
    parser.add_argument(
        "--apply", type=int, nargs="?", const=-1, metavar="TRIAL",
        help="write the values found, or those of a trial, into params.yaml, nothing else",
    )  # fmt: skip
    arguments = parser.parse_args()
    process.end_with_dvc()
    raw = load().model_dump()
    given = {"trials": arguments.trials, "timeout": arguments.timeout}
    raw["tune"] |= {key: value for key, value in given.items() if value is not None}
    params = check(raw, "the command line")
    if arguments.workers is not None and arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}: must be at least 1")
    if arguments.apply is not None:
        from src.search import best

        best.apply(params, None if arguments.apply == -1 else arguments.apply)
        return
    from src.search import sampling, space

    # Finds faults before the data are prepared.
    sampling.trial_count(params.tune.sampler, space.distributions(params), params.tune.trials)
    if "DVC_STAGE" not in os.environ:  # else DVC has prepared the data, and is locked
        run_split()
    if not read_dataset().splits["validation"].count:
        raise UserError("a search chooses by validation images, and there are none: set split.validation above 0")
    from src.search import session
    from src.search.objectives import measure
    from src.search.workers import WorkerPool

    with WorkerPool(params, ("train", "validation"), measure, arguments.workers) as workers:
        session.find(params, arguments.storage, workers)


if __name__ == "__main__":
    command(main)
