"""The data set, or the source that stands in for it, as it came → data/raw.

python -m stages.download
"""

from src.data.raw import fetch_raw
from src.faults import command
from src.params import load


def main() -> None:
    params = load()
    fetch_raw(params.data.name, params.data.source, params.data.sha256)


if __name__ == "__main__":
    command(main)
