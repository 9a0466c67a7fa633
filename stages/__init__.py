"""The pipeline's programs: `python -m stages.train`."""

from collections.abc import Callable
from typing import NoReturn

from src import faults, guard

with faults.told():
    guard.begin()


def run(main: Callable[[], None], less_memory: str = faults.MORE_MEMORY) -> NoReturn:
    """Runs a stage's `main` as a command line, and ends the process."""

    def whole() -> None:
        main()
        guard.end()

    faults.command(whole, less_memory)
