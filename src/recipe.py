"""Write params.yaml from a recipe, or list the recipes with what each reaches and takes.

python -m src.recipe
python -m src.recipe mnist
python -m src.recipe own-images --suggest     settings for your photos, with the time they take on this machine
"""

import argparse
import subprocess

from src.core.errors import UserError, command
from src.core.files import write_text
from src.core.paths import PARAMS
from src.params import writing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="of the recipe; without one, all are listed")
    parser.add_argument("--force", action="store_true", help="also over changes of params.yaml that no commit holds")
    parser.add_argument("--suggest", action="store_true", help="write nothing: look at the photos and time a few steps")
    arguments = parser.parse_args()
    if arguments.name is None:
        print("\n\n".join(writing.header(name) for name in writing.names()))
        return
    if arguments.suggest:
        from src.search.suggestion import suggest  # seconds

        rows = list(suggest(writing.load_recipe(arguments.name)))
        print("\n".join(f"  {key:20} {value!s:10} {why}" for key, value, why in rows))
        print("dvc exp run " + " ".join(f"-S {key}={value}" for key, value, _ in rows))
        return
    text = writing.recipe(arguments.name)
    present = PARAMS.read_text(encoding="utf-8") if PARAMS.is_file() else text
    recipes = [writing.recipe(name) for name in writing.names()]
    if not arguments.force and present not in recipes and _edited():
        raise UserError(f"{PARAMS} has changes that no commit holds: commit them, or add --force to lose them")
    write_text(PARAMS, text)
    print(f"{PARAMS} is the recipe {arguments.name} now: dvc repro runs it, git diff {PARAMS} shows what changed")


def _edited() -> bool:
    """Tell if git knows no commit with the present `params.yaml`; without git every change would be lost."""
    return bool(subprocess.run(["git", "diff", "--quiet", "HEAD", "--", str(PARAMS)], capture_output=True).returncode)


if __name__ == "__main__":
    command(main)
