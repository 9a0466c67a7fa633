"""The pipeline's programs: `python -m stages.train`. One that DVC started ends with DVC."""

import argparse
import gc
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from src.core import errors, process

with errors.exit_on_user_error():
    process.end_with_dvc()
    if sys.argv[0] == "-m":  # Python is about to run a stage, and has imported nothing of it yet
        from src.compute import portable

        portable.begin()
        gc.disable()  # nothing that is imported could be freed


def run(main: Callable[[], None], less_memory: str = errors.MORE_MEMORY) -> NoReturn:
    """Run a stage's `main` as a command line that takes no arguments, and end the process at once.

    A usual end of Python would take half a second to free, one by one, what torch has imported.
    """
    gc.freeze()  # so that no collection looks through all that was imported
    gc.enable()

    def stage() -> None:
        description = sys.modules[main.__module__].__doc__
        argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        ).parse_args()
        main()
        sys.stdout.flush()
        os._exit(0)

    errors.command(stage, less_memory)
