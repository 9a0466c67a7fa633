"""The pipeline's programs: `python -m stages.train`. Started by DVC, one ends when DVC does."""

import os

from src import lifetime

if "DVC_STAGE" in os.environ:
    lifetime.follow_parent()
