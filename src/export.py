"""Write the model as a file for other programs; compare its answers and its speed with PyTorch's.

    python -m src.export
    python -m src.export --format onnx-int8 --model models:/digits@champion --output digits.onnx

onnx: for programs without PyTorch | onnx-int8: the same with integers of 8 bits, in a quarter of the bytes; calibrated
on training images | pt2: for PyTorch without this repository (`torch.export.load`). Input uint8 (N, H, W, C), output
class probabilities. ONNX needs `make env EXTRA=onnx`.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

from src.compute import portable

if __name__ == "__main__":
    portable.begin()


from src.core.errors import UserError, command
from src.core.files import replacing
from src.core.paths import MODEL, ONNX
from src.prediction.exported import BATCHES, compare, export
from src.prediction.model import load
from src.stats.groups import design_effect
from src.stats.intervals import wilson

OUTPUTS = {"onnx": ONNX, "pt2": ONNX.with_suffix(".pt2"), "onnx-int8": ONNX.with_suffix(".int8.onnx")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default=str(MODEL), help="a file, models:/NAME@champion, or a run's id (default: %(default)s)"
    )
    parser.add_argument("--format", choices=list(OUTPUTS), default="onnx", help="default: %(default)s")
    parser.add_argument("--output", type=Path, help=f"default: {', '.join(map(str, OUTPUTS.values()))}")
    arguments = parser.parse_args()
    needed = () if arguments.format == "pt2" else ("onnx", "onnxruntime", "onnxscript")
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(f"python -m src.export needs {missing[0]}: make env EXTRA=onnx")
    output = arguments.output or OUTPUTS[arguments.format]
    model = load(arguments.model, "cpu")
    content, run, difference = export(model, arguments.format)
    with replacing(output) as temporary:
        temporary.write_bytes(content)
    image = model.spec.image
    shape = f"uint8 (N, {image.height}, {image.width}, {image.channels}) → {len(model.spec.classes)} probabilities"
    print(f"{output}: {shape}, at most {difference:.1g} from PyTorch's on random images")

    weights = sum(tensor.nbytes for tensor in model.module.state_dict().values())
    sizes = {"PyTorch": weights, arguments.format: len(content)}
    measured, groups = compare({"PyTorch": model.probabilities, arguments.format: run}, model.spec)
    count = len(measured["PyTorch"].right)
    header = ["", "MiB", f"right of {count:,} validation images", *(f"ms for {batch}" for batch in BATCHES)]
    rows = [header, ["---"] * len(header)]
    for name, (right, milliseconds) in measured.items():
        low, high = wilson(sum(right), count, design_effect(right, groups))
        share = f"{100 * sum(right) / count:.2f} % ({100 * low:.2f}–{100 * high:.2f})" if count else "none"
        rows.append([name, f"{sizes[name] / 2**20:.2f}", share, *(f"{each:.2f}" for each in milliseconds)])
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    command(main)
