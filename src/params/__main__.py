"""Check `params.yaml`: its keys and values, those that must agree, and the space of a search.

    python -m src.params

Then check that this machine has the network, the weights and the device that it names.
"""

import argparse

from src.core.errors import command
from src.params import check_machine, check_space, load


def main() -> None:
    argparse.ArgumentParser(
        "python -m src.params", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    params = load()
    check_space(params)
    check_machine(params)


if __name__ == "__main__":
    command(main)
