"""Repair what DVC refuses to read, or name it.

python -m src.recover

`make repro` runs it first. DVC writes its files in place, so a kill may leave one half-written. `.dvc/tmp/rwlock`,
which says what DVC's processes read and write, is then removed. `dvc.lock` becomes the committed one, and the broken
one is kept in `.dvc/tmp`; DVC's cache still has the outputs of stages that are missing in it. A `dvc.lock` in which git
left conflicts stays as it is, and is named.
"""

import argparse
import json
import os
from pathlib import Path

from src.core.errors import UserError, command
from src.core.files import write_text
from src.core.git import CONFLICTS, git, has_conflicts
from src.core.paths import IMAGES, LOCKS, RWLOCK


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if RWLOCK.exists() and not _readable(RWLOCK):
        RWLOCK.unlink()
        print(f"{RWLOCK} was half-written: removed")
    for path in LOCKS:
        if path.exists() and has_conflicts(path.read_bytes()):
            raise UserError(f"{path} {': '.join(CONFLICTS)}")
        if path.exists() and not _readable(path):
            kept = RWLOCK.with_name(f"{'-'.join(path.parts)}.broken")
            kept.parent.mkdir(parents=True, exist_ok=True)
            path.replace(kept)
            write_text(path, git("show", f"HEAD:./{path.as_posix()}"))
            if not _readable(path):  # nor is the committed one, or there is none
                path.unlink()
            result = "the committed one is back" if path.exists() else "removed"
            print(f"{path} was half-written: {result}; what was there is kept in {kept}")
    for folder, folders, files in os.walk(IMAGES):
        for name in (*folders, *files):
            try:
                name.encode()
            except UnicodeEncodeError:
                shown = os.fsencode(Path(folder, name)).decode(errors="backslashreplace")
                raise UserError(f"{shown}: the name is not UTF-8, which DVC needs: rename it") from None


def _readable(path: Path) -> bool:
    """Tell if DVC can read one of its own files."""
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    try:
        content = path.read_bytes()
        if path == RWLOCK:
            json.loads(content)
        else:
            strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)
    except (DvcException, ValueError):
        return False
    return True


if __name__ == "__main__":
    command(main)
