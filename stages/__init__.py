"""The pipeline's programs: `python -m stages.train`.

Started by DVC, one ends when DVC does, and begins by bringing to the disk what DVC wrote before.
"""

import os
import sys

from src import durable, lifetime

if "DVC_STAGE" in os.environ:
    lifetime.follow_parent()
    if damaged := durable.damaged():
        sys.exit(f"error: {durable.told(damaged)}: run make repro, which makes them again")
    durable.sync_beside()
