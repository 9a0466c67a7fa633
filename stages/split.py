"""data/raw → data/prepared: every image decoded once, divided into train, validation and test.

python -m stages.split
"""

from src.data.prepare import prepare
from src.faults import command
from src.params import load


def main() -> None:
    params = load()
    prepare(
        params.data.name,
        params.data.image_size,
        params.data.resize,
        params.data.limit,
        params.data.skip_unreadable,
        params.split,
    )


if __name__ == "__main__":
    command(main, "reduce data.image_size")
