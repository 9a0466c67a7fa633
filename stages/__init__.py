"""The pipeline's programs: `python -m stages.train`."""

from src import faults, guard

with faults.told():
    guard.begin()
