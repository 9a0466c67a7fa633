"""Keep what was measured on the test images: a few numbers for DVC's views, and a table of all with their intervals.

    reports/metrics.json    accuracy, loss and so on: what `dvc metrics diff` and `dvc exp show` list
    reports/measured.csv    metric,value,low,high: the same with the ends of their intervals, and robustness

It imports neither numpy nor pandas, so that a program which only prints some numbers starts fast.
"""

import csv
import io
from collections.abc import Mapping
from typing import Any

from src.core.documents import damaged, read_object
from src.core.files import write_json, write_text
from src.core.paths import MEASURED, METRICS
from src.core.words import counted

_ENDS = ("_ci_low", "_ci_high")


def write(metrics: Mapping[str, float], robustness: Mapping[str, float]) -> None:
    """Write both files, from what `metrics.measure` and `robustness.headline` return."""
    values = {key: value for key, value in metrics.items() if not key.endswith(_ENDS)}
    # The file stays short: macro F1 already says how well rare classes do.
    write_json(METRICS, {key: value for key, value in values.items() if key != "balanced_accuracy"})
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["metric", "value", "low", "high"])
    for name, value in {**values, **robustness}.items():
        rows.writerow([name, value, *(metrics.get(f"{name}{end}", "") for end in _ENDS)])
    write_text(MEASURED, table.getvalue())


def read() -> dict[str, Any]:
    """Return all numbers by name, the ends of an interval as `…_ci_low` and `…_ci_high`.

    Raises `UserError` where a file is missing or damaged.
    """
    metrics = read_object(METRICS)
    if not metrics.get("images"):
        return metrics
    content = MEASURED.read_bytes()
    try:
        for row in csv.DictReader(io.StringIO(content.decode(), newline="")):
            for end, number in zip(("", *_ENDS), (row["value"], row["low"], row["high"]), strict=True):
                if number != "":
                    metrics.setdefault(f"{row['metric']}{end}", float(number))
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise damaged(MEASURED, content, repr(error)) from None
    if "accuracy_ci_low" not in metrics:
        raise damaged(MEASURED, content, "it has no accuracy")
    return metrics


def accuracy_sentence(metrics: Mapping[str, Any]) -> str:
    """Write the test accuracy of what `read` returns: `98.33 %  (95 % interval 96.41 to 99.23 %, 360 images)`."""
    if not metrics["images"]:
        return "none: there are no test images"
    value, low, high = (100 * metrics[f"accuracy{end}"] for end in ("", *_ENDS))
    return f"{value:.2f} %  (95 % interval {low:.2f} to {high:.2f} %, {metrics['images']:,} images{in_groups(metrics)})"


def in_groups(metrics: Mapping[str, Any]) -> str:
    """Write ` in 8 groups` where the test images come in groups, which alone count as independent."""
    return f" in {counted(metrics['groups'], 'group')}" if "groups" in metrics else ""
