"""python -m src.params        check the whole file"""

import argparse

from src.core.errors import command
from src.params import check_machine, check_space, load


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    params = load()
    check_space(params)
    check_machine(params)


if __name__ == "__main__":
    command(main)
