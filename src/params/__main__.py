"""python -m src.params        check the whole file"""

from src.faults import command
from src.params import check_space, load


def main() -> None:
    check_space(load())


if __name__ == "__main__":
    command(main)
