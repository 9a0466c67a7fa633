"""The pipeline's programs: `python -m stages.train`."""

from src import guard
from src.faults import Fault, leave

try:
    guard.begin()
except Fault as fault:
    leave(str(fault), 2)
