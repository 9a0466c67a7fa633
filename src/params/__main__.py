"""python -m src.params        checks the whole file"""

from src.faults import command
from src.params.reader import load


def main() -> None:
    load()


if __name__ == "__main__":
    command(main)
