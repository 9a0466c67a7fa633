"""The test accuracy in words, without numpy, for what only prints it."""

from collections.abc import Mapping


def accuracy_sentence(metrics: Mapping[str, float]) -> str:
    """Write `98.33 %  (95 % interval 96.41 to 99.23 %, 360 images)` from what `src.evaluation.measured` reads."""
    if not metrics["images"]:
        return "none: there are no test images"
    value, low, high = (100 * metrics[f"accuracy{end}"] for end in ("", "_ci_low", "_ci_high"))
    return f"{value:.2f} %  (95 % interval {low:.2f} to {high:.2f} %, {metrics['images']:,} images)"
