"""The pipeline's programs: `python -m stages.train`."""

import sys
from collections.abc import Callable
from typing import NoReturn

from src import dvc_cache, faults, guard
from src.compute import portable

if sys.argv[0] == "-m":  # while Python looks for the module that it was told to run; not where another imports this
    portable.begin()
with faults.told():
    guard.begin()
    _OUTPUTS = guard.outputs()  # now: who waits for a stage may edit dvc.yaml


def run(main: Callable[[], None], less_memory: str = faults.MORE_MEMORY) -> NoReturn:
    """Runs a stage's `main` as a command line, and ends the process. What it wrote survives a power failure then."""

    def whole() -> None:
        main()
        dvc_cache.keep(_OUTPUTS)

    faults.command(whole, less_memory)
