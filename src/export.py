"""The model as an ONNX file, checked against PyTorch through onnxruntime: `make env EXTRA=onnx` installs both.

    python -m src.export
    python -m src.export --model models:/digits@champion --output digits.onnx

Input uint8 (N, H, W, C), output class probabilities: `src/prediction/onnx_file.py` says more.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

from src.compute import portable

if __name__ == "__main__":
    portable.begin()

from src.core.errors import UserError, command
from src.core.paths import MODEL, ONNX
from src.prediction.model import load
from src.prediction.onnx_file import export


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default=str(MODEL), help="a file, models:/NAME@champion, or a run's id (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=ONNX, help="default: %(default)s")
    arguments = parser.parse_args()
    if missing := [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]:
        raise UserError(f"python -m src.export needs {missing[0]}: make env EXTRA=onnx")
    model = load(arguments.model)
    difference = export(model, arguments.output)
    image = model.spec.image
    shape = f"uint8 (N, {image.height}, {image.width}, {image.channels}) → {len(model.spec.classes)} probabilities"
    size = arguments.output.stat().st_size / 2**20
    print(f"{arguments.output}: {size:.2f} MiB, {shape}, at most {difference:.1g} from PyTorch's")


if __name__ == "__main__":
    command(main)
