"""Write params.yaml from a recipe, or list the recipes with what each reaches and takes. The section `report` stays.

python -m src.recipe
python -m src.recipe mnist
python -m src.recipe --suggest     settings for your photos, with the time that they take on this machine
"""

import argparse
import subprocess

from src.core.documents import keys, read_yaml
from src.core.errors import UserError, command
from src.core.files import write_text
from src.core.paths import PARAMS
from src.params import load, writing
from src.params.schema import Report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("name", nargs="?", help="of the recipe; without one, all are listed")
    parser.add_argument("--force", action="store_true", help="also over changes of params.yaml that no commit holds")
    asked.add_argument(
        "--suggest", action="store_true",
        help="for the photos that dvc repro split has prepared: what to set in params.yaml, timed by a few steps",
    )  # fmt: skip
    arguments = parser.parse_args()
    if arguments.suggest:
        _suggest()
        return
    if arguments.name is None:
        print("\n\n".join(writing.header(name) for name in writing.names()))
        return
    present = PARAMS.read_text(encoding="utf-8") if PARAMS.is_file() else ""
    try:
        rules = keys(keys(read_yaml(present)).get("report"))
    except ValueError as error:
        raise UserError(f"{PARAMS} cannot be read, nor its section report kept: repair it ({error})") from None
    rules = {key: value for key, value in rules.items() if key in Report.model_fields}
    text = writing.recipe(arguments.name, rules)
    recipes = (writing.recipe(name, rules) for name in writing.names())
    if present and not arguments.force and present not in recipes and _edited():
        command = f"python -m src.recipe {arguments.name} --force"
        raise UserError(f"{PARAMS} has changes that no commit holds: commit them, or lose them by {command}")
    write_text(PARAMS, text)
    print(f"{PARAMS} is the recipe {arguments.name} now: dvc repro runs it, git diff {PARAMS} shows what changed")


def _suggest() -> None:
    from src.search.suggestion import suggest  # its import takes seconds
    from src.tracking.identity import text

    rows = list(suggest(load()))
    for key, present, value, why in rows:
        print(f"  {key:18} {text(value) if value == present else f'{text(present)} → {text(value)}':14} {why}")
    changes = " ".join(f"-S {key}={text(value)}" for key, present, value, _ in rows if value != present)
    print(f"to try it: dvc exp run {changes}" if changes else "params.yaml has these settings")


def _edited() -> bool:
    """Tell if the last commit lacks the present `params.yaml`; without git every change would be lost, too."""
    return bool(subprocess.run(["git", "diff", "--quiet", "HEAD", "--", str(PARAMS)], capture_output=True).returncode)


if __name__ == "__main__":
    command(main)
