"""python -m src.params        checks the whole file"""

import argparse

from src.faults import command
from src.params.reader import load


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    load()


if __name__ == "__main__":
    command(main)
