"""The pipeline's programs: `python -m stages.train`. One that DVC started ends with DVC."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from src import faults, lifetime

with faults.told():
    lifetime.end_with_dvc()


def run(main: Callable[[], None], less_memory: str = faults.MORE_MEMORY) -> NoReturn:
    """Run a stage's `main` as a command line that takes no arguments, and end the process."""

    def stage() -> None:
        description = sys.modules[main.__module__].__doc__
        argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        ).parse_args()
        main()

    faults.command(stage, less_memory)
