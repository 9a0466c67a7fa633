"""The pipeline's programs: `python -m stages.train`.

Started by DVC, one ends when DVC does, and begins by bringing to the disk what DVC wrote before.
"""

import os
import sys

from src import durable, lifetime

if "DVC_STAGE" in os.environ:
    lifetime.follow_parent()
    try:
        damaged = durable.settle()
    except OSError as error:
        sys.exit(f"error: {error}: make it writable for you")
    if damaged:
        print(durable.told(damaged), file=sys.stderr, flush=True)
