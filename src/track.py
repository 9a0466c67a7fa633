"""Where a model comes from, whether the records are whole, and whether it can be made again.

    python -m src.track show models/model.safetensors   # or a model's MD5, models:/NAME@champion, a run's id, a commit
    python -m src.track verify [--fix]                  # has every model of dvc.lock's history its run, and back
    python -m src.track sync                            # a run for the model at hand, where it was pulled
    python -m src.track rebuild HEAD~3                  # or a run's id: the same bits once more?

`verify` ends with exit code 1 where a model has no run or a run is RUNNING though its process is gone (`--fix` closes
those); `rebuild` where the model comes out different.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from src.core.errors import command
from src.core.paths import ENVIRONMENT, MODEL
from src.tracking import history
from src.tracking.dead import close
from src.tracking.lineage import lines, trace
from src.tracking.rebuild import rebuild, source
from src.tracking.runs import existing_store
from src.tracking.verify import verify

if TYPE_CHECKING:
    from mlflow.entities import Run

_NAMED = 10  # of a kind, before the rest is only counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="all that made a model")
    show.add_argument("name", metavar="MODEL|RUN|REV")
    check = commands.add_parser("verify", help="whether models and runs belong together")
    check.add_argument("--fix", action="store_true", help="close runs whose process is gone")
    commands.add_parser("sync", help="send what waits for MLflow; make the run that the model at hand lacks")
    again = commands.add_parser("rebuild", help="make a model again, and compare")
    again.add_argument("name", metavar="REV|RUN")
    arguments = parser.parse_args()
    calls: dict[str, Callable[[], bool]] = {
        "show": lambda: _show(arguments.name),
        "verify": lambda: _verify(arguments.fix),
        "sync": _sync,
        "rebuild": lambda: _rebuild(arguments.name),
    }
    if not calls[arguments.command]():
        sys.exit(1)


def _show(name: str) -> bool:
    last = ""
    for label, text in lines(trace(name)):
        print(f"{'' if label == last else label:<12}{text}")
        last = label
    return True


def _verify(fix: bool) -> bool:
    store = existing_store()
    found = verify(store)
    print(f"models      {found.models} in dvc.lock's history, {len(found.unmatched)} without their run")
    for state, reason in found.unmatched[:_NAMED]:
        where = history.describe(state.commit) if state.commit else "dvc.lock, not committed"
        print(f"            {state.model_md5} ({where}): {reason}")
    _rest(found.unmatched)
    if found.unmatched:
        print("            one that is checked out (git checkout, dvc checkout) gets it by python -m src.track sync")
    print(f"runs        {found.runs}")
    _list("orphaned: their model is in no dvc.lock", found.orphaned)
    _list("from changed code that no commit with their model has", found.modified)
    _list("RUNNING though their process is gone", found.dead)
    if found.dead and fix and store:
        print(f"            closed as KILLED: {close(store, found.dead)}")
    elif found.dead:
        print("            python -m src.track verify --fix closes them")
    return not found.unmatched and (fix or not found.dead)


def _list(what: str, runs: Sequence["Run"]) -> None:
    if runs:
        print(f"            {len(runs)} {what}")
        for run in runs[:_NAMED]:
            started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.info.start_time / 1000))
            print(f"              {run.info.run_id} {started} {run.info.run_name}")
        _rest(runs)


def _rest(items: Sequence[object]) -> None:
    if len(items) > _NAMED:
        print(f"              and {len(items) - _NAMED} more")


def _sync() -> bool:
    from src.tracking.sender import send
    from src.tracking.sync import sync  # and with it torch

    for name in send():
        print(f"sent the run {name}, which waited in .cache/outbox")
    made = sync()
    if made is None:
        print(f"{MODEL} has its run: nothing to do")
        return True
    print(f"made the run {made.run_id} for {MODEL}")
    if made.missing:
        print(f"without {', '.join(map(str, made.missing))}: missing, or not what dvc.lock says")
    return True


def _rebuild(name: str) -> bool:
    wanted = source(trace(name))
    origin = f" with what the run {wanted.run_id} stored" if wanted.run_id else ""
    print(f"rebuilding {history.describe(wanted.commit)}{origin}", flush=True)
    found = rebuild(wanted)
    expected = wanted.expected[MODEL.as_posix()]
    same = found.model_md5 == expected
    if same:
        print(f"the model is bit-identical: {expected}")
    else:
        print(f"the model differs: {found.model_md5}, not {expected}")
    others = [path for path in found.differing if path != MODEL.as_posix()]
    also = f": {', '.join(others)}" if others else ""
    print(f"of {len(wanted.expected)} results {len(found.differing)} differ{also}")
    if not same and ENVIRONMENT.as_posix() in others:
        print(f"libraries, device or precision are others than then, as {ENVIRONMENT} has them")
    return same


if __name__ == "__main__":
    command(main)
