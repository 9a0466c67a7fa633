"""The pipeline's programs: `python -m stages.train`."""

import sys
from collections.abc import Callable
from typing import NoReturn

from src import dvc_cache, faults, guard

with faults.told():
    guard.begin()
    _OUTPUTS = guard.outputs()  # now: who waits for a stage may edit dvc.yaml
    if sys.argv[0] == "-m":  # Python looks for the stage that it was told to run, and has loaded nothing of it yet
        from src.compute import portable

        portable.begin()


def run(main: Callable[[], None], less_memory: str = faults.MORE_MEMORY) -> NoReturn:
    """Runs a stage's `main` as a command line, and ends the process. What it wrote survives a power failure then."""

    def whole() -> None:
        main()
        dvc_cache.keep(_OUTPUTS)

    faults.command(whole, less_memory)
