"""The data set, or the source that stands in for it, as it came → data/raw.

python -m stages.download
"""

from src.data.raw import fetch_raw
from src.params import check_machine, load
from stages import run


def main() -> None:
    params = load()
    check_machine(params)
    fetch_raw(params.data.name, params.data.source, params.data.sha256, params.data.max_gib)


if __name__ == "__main__":
    run(main)
