"""python -m src.params        check the whole file"""

from src.faults import command
from src.params import load


def main() -> None:
    load()


if __name__ == "__main__":
    command(main)
