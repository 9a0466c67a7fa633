"""Report what a change did to the model, and whether that is real or noise.

    python -m src.report --base main                  the working tree against the commit of main that it builds on
    python -m src.report --base main --head feature   a branch against the commit of main that it builds on
    python -m src.report --base v1 --exact            the working tree against v1 itself
    python -m src.report --html > report.html         as a page, with the images that changed sides if they are here
    python -m src.report --sheet                      draw those images into reports/; commit them if they may be seen
    python -m src.report --write report               Markdown, page and JSON into a folder, for continuous integration

The report reads only what git tracks.

The gate is `report.fail_on` in the base's params.yaml. With `worse` the exit code is 1 if the model is worse on
validation, if it has no answers, or if the numbers are not those of its parameters and code. With `no-evidence` the
exit code is also 1 if the model is neither better nor equivalent.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.core.errors import UserError, command
from src.review.changed_images import write_sheet
from src.review.gate import policy
from src.review.gather import review
from src.review.render import annotations, as_html, as_markdown, refused, title
from src.review.revision import at, merge_base, working_tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="main", metavar="REV", help="compare with this (default: %(default)s)")
    parser.add_argument("--head", metavar="REV", help="compare this (default: the working tree)")
    parser.add_argument("--exact", action="store_true", help="with the base itself, not with where both branched off")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--html", action="store_true", help="a page instead of Markdown")
    form.add_argument("--json", action="store_true", help="every number, for programs")
    form.add_argument("--sheet", action="store_true", help="draw the images that changed sides into reports/")
    form.add_argument("--write", type=Path, metavar="FOLDER", help="report.md, report.html and report.json")
    parser.add_argument(
        "--files", default="", metavar="URL/", help="address of the head's files, from which Markdown shows its sheet"
    )
    arguments = parser.parse_args()
    # Names of files may be in any encoding.
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        report(arguments)
    except UserError as error:
        if arguments.write:
            write(arguments.write, *refused(str(error)))  # an earlier report must not stay
        raise


def report(arguments: argparse.Namespace) -> None:
    """Make the report, and end the process where the gate is closed."""
    head = at(arguments.head) if arguments.head else working_tree()
    named = at(arguments.base)
    rules = policy(named, head)
    base = named if arguments.exact else merge_base(named, head)
    found = review(base, head, rules)
    whole = {"title": title(found), "annotations": annotations(found), **found}
    if arguments.sheet:
        print(f"{write_sheet(found, base, head)}: commit it if these images may be seen")
    elif arguments.write:
        write(arguments.write, as_markdown(found, base, head, arguments.files), as_html(found, base, head), whole)
    elif arguments.json:
        sys.stdout.write(as_json(whole))
    elif arguments.html:
        sys.stdout.write(as_html(found, base, head))
    else:
        sys.stdout.write(as_markdown(found, base, head, arguments.files))
    if found["gate"]:
        sys.exit(f"report.fail_on is {found['fail_on']}: {found['gate']}")


def as_json(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write(folder: Path, markdown: str, page: str, found: Mapping[str, Any]) -> None:
    """Write `report.md`, `report.html` and `report.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.md", markdown), ("report.html", page), ("report.json", as_json(found))):
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    command(main)
