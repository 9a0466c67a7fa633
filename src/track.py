"""Tell where a model comes from; complete its run in MLflow; make the model again.

    python -m src.track show models/model.safetensors   # or an MD5, models:/NAME@champion, run, commit, experiment
    python -m src.track sync                            # complete the run of the model in models/
    python -m src.track rebuild HEAD~3                  # or a run's id: does the same come out again?

`rebuild` ends with exit code 1 if a portable recipe gives other bits, or another recipe an accuracy that differs by
more than luck.
"""

import argparse
import sys

from src.core.errors import command
from src.core.paths import ENVIRONMENT, MODEL
from src.core.pool import processor_name
from src.tracking.history import describe
from src.tracking.lineage import lines, rebuild_source, trace
from src.tracking.rebuild import rebuild


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="all that made a model")
    show.add_argument("name", metavar="MODEL|RUN|REV")
    commands.add_parser("sync", help="complete the run of the model at hand")
    again = commands.add_parser("rebuild", help="make a model again, and compare")
    again.add_argument("name", metavar="REV|RUN")
    arguments = parser.parse_args()
    match arguments.command:
        case "show":
            _show(arguments.name)
        case "sync":
            _sync()
        case "rebuild":
            sys.exit(0 if _rebuild(arguments.name) else 1)


def _show(name: str) -> None:
    last = ""
    for label, text in lines(trace(name)):
        print(f"{'' if label == last else label:<12}{text}")
        last = label


def _sync() -> None:
    from src.tracking.sync import complete

    done = complete()
    print(f"{'completed' if done.changed else 'complete already:'} the run {done.name} ({done.run_id}) of {MODEL}")
    if done.missing:
        print(f"without {', '.join(map(str, done.missing))}: missing, or not what dvc.lock says")


def _rebuild(name: str) -> bool:
    """Print how the model that is made again differs; tell if it is the same, or differs by luck alone."""
    wanted = rebuild_source(trace(name))
    origin = f" with what the run {wanted.run_id} stored" if wanted.run_id else ""
    print(f"rebuilding {describe(wanted.commit)}{origin}", flush=True)
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
    if ENVIRONMENT.as_posix() in others:
        print(f"libraries, device or precision are others than then, as {ENVIRONMENT} has them")
    processor = processor_name()
    if not found.differing:
        print(f"reproduced bit for bit on {processor}")
        return True
    from src.review.luck import findings
    from src.review.revision import at

    beyond = [found.differing[0]]
    committed = at(wanted.commit)
    # Luck can explain a difference only if the models differ, and the recipe does not promise equal bits; it is judged
    # by committed results, which only a commit has.
    if not same and wanted.run_id is None and committed.params.get("train", {}).get("deterministic") != "portable":
        compared = list(findings(committed, found.answers))
        for each in compared:
            print(f"{each.what} {each.text}")
        beyond = [each.what for each in compared if not each.lucky]
    if beyond:
        print(f"not reproduced on {processor}: {beyond[0]} is the first that differs")
    else:
        print(f"reproduced within luck on {processor}: the bits differ, by no more than chance explains")
    return not beyond


if __name__ == "__main__":
    command(main)
