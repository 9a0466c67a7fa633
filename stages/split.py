"""data/raw → data/prepared: every image decoded once, placed in train, validation or test.

python -m stages.split
"""

from src.data.prepare import prepare
from src.params import check_machine, load
from stages import run


def main() -> None:
    params = load()
    check_machine(params)
    prepare(params.data, params.split)


if __name__ == "__main__":
    run(main, "reduce data.image_size")
