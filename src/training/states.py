"""Find and remove the saved states of trainings (`resume.py`). Imports no torch, which takes a second and more."""

import shutil
import time
from contextlib import suppress

from src.core.paths import LOCK, states

FINISHED = "finished"  # holds the md5 of the model that came out, and the session of the training
_ABANDONED = 30 * 24 * 3600  # seconds after which a state that nobody resumed is removed


def finished_session(model_md5: str) -> str | None:
    """Return the session of the training that gave this model, until its state is removed."""
    for file in states().glob(f"*/{FINISHED}"):
        md5, session = file.read_text(encoding="utf-8").split()
        if md5 == model_md5:
            return session
    return None


def discard_unneeded_states() -> None:
    """Remove the states whose model `dvc.lock` holds, and those that nobody resumed for long."""
    recorded = LOCK.read_text(encoding="utf-8") if LOCK.is_file() else ""
    for folder in states().glob("*/"):
        with suppress(FileNotFoundError):  # another process does the same
            finished = folder / FINISHED
            done = finished.is_file() and finished.read_text(encoding="utf-8").split()[0] in recorded
            if done or time.time() - folder.stat().st_mtime > _ABANDONED:
                shutil.rmtree(folder)
