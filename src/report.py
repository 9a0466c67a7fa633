"""Report what a change did to the model, and whether that is real or noise: one screen for a pull request.

    python -m src.report --base main                  the working tree against the commit of main that it builds on
    python -m src.report --base main --head feature   a branch, likewise
    python -m src.report --base v1 --exact            against that very commit
    python -m src.report --html > report.html         with thumbnails, where the prepared images are at hand

Reads only what git tracks. Exit code 1 with `--fail-on worse` if the model is worse on validation, or if the head holds
nothing that could show it: no answers, or numbers that are not those of its parameters and code.
"""

import argparse
import json
import sys
from dataclasses import replace

from src.core.errors import command
from src.review.gather import review
from src.review.render import as_html, as_markdown
from src.review.revision import at, merge_base, working_tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="main", metavar="REV", help="compare with this (default: %(default)s)")
    parser.add_argument("--head", metavar="REV", help="compare this (default: the working tree)")
    parser.add_argument("--exact", action="store_true", help="with the base itself, not where both branched off")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--html", action="store_true", help="a page instead of Markdown")
    form.add_argument("--json", action="store_true", help="every number, for programs")
    parser.add_argument(
        "--fail-on",
        choices=["worse"],
        help="exit code 1 if it is worse, or nothing shows otherwise",
    )
    arguments = parser.parse_args()
    # Names of files may be in any encoding.
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    head = at(arguments.head) if arguments.head else working_tree()
    base = at(arguments.base)
    if not arguments.exact:
        base = merge_base(base, head)
    base = replace(base, tolerant=True)
    found = review(base, head)
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        sys.stdout.write(as_html(found, (base, head)) if arguments.html else as_markdown(found))
    if arguments.fail_on and found["failure"]:
        sys.exit(f"--fail-on {arguments.fail_on}: {found['failure']}")


if __name__ == "__main__":
    command(main)
