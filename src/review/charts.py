"""Draw the curves of two trainings: in Mermaid, which GitHub and GitLab show in a comment, and in SVG for the page."""

from collections.abc import Mapping, Sequence

# Grey and blue, which can be seen on white and on black; the text above the charts names them.
BASE, HEAD = "#8c959f", "#1f83ff"
_WIDTH, _HEIGHT = 640, 300
_MOST = 30  # epochs, evenly spread: more numbers do not fit below the axis

Curves = Mapping[str, Sequence[float]]  # of base and head, by epoch


def mermaid(title: str, curves: Curves) -> str:
    """Return a chart as a fenced block. Each line ends with its training."""
    epochs = _epochs(curves)
    lines = [
        # Mermaid reads no exponents.
        ", ".join(f"{values[e - 1]:.6f}".rstrip("0").rstrip(".") for e in epochs if e <= len(values))
        for values in curves.values()
    ]
    return f"""```mermaid
%%{{init: {{"xyChart": {{"width": {_WIDTH}, "height": {_HEIGHT}}}, \
"themeVariables": {{"xyChart": {{"backgroundColor": "transparent", "plotColorPalette": "{BASE}, {HEAD}"}}}}}}}}%%
xychart-beta
  title "{title}"
  x-axis "epoch" [{", ".join(map(str, epochs))}]
{chr(10).join(f"  line [{line}]" for line in lines)}
```"""


def svg(title: str, curves: Curves) -> str:
    """Return the same chart for a page without scripts."""
    epochs = _epochs(curves)
    drawn = [values[e - 1] for values in curves.values() for e in epochs if e <= len(values)]
    low, high = min(drawn), max(drawn)
    left, right, top, bottom = 84, _WIDTH - 15, 35, _HEIGHT - 40  # nine digits fit on the left

    def x(epoch: int) -> float:
        return left + (right - left) * (epoch - epochs[0]) / max(epochs[-1] - epochs[0], 1)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / ((high - low) or 1)

    def points(values: Sequence[float]) -> str:
        return " ".join(f"{x(e):.1f},{y(values[e - 1]):.1f}" for e in epochs if e <= len(values))

    lines = [
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points(values)}"/>'
        for colour, values in zip((BASE, HEAD), curves.values(), strict=True)
    ]
    words = [
        f'<text x="{left}" y="20" font-weight="bold">{title}</text>',
        *(f'<text x="{left - 8}" y="{y(v) + 5:.0f}" text-anchor="end">{v:.4g}</text>' for v in (low, high)),
        *(f'<text x="{x(e):.0f}" y="{bottom + 20}" text-anchor="middle">{e}</text>' for e in (epochs[0], epochs[-1])),
        f'<text x="{(left + right) / 2:.0f}" y="{bottom + 20}" text-anchor="middle">epoch</text>',
    ]
    axes = f'<path d="M{left} {top}V{bottom}H{right}" fill="none" stroke="currentColor" opacity=".4"/>'
    inside = "".join([axes, *lines, *words])
    return (
        f'<div><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}" font-size="14" '
        f'fill="currentColor">{inside}</svg></div>'
    )


def _epochs(curves: Curves) -> list[int]:
    """Choose the epochs to draw, without the first fifth of the shorter training, which would flatten the others."""
    last = max(map(len, curves.values()))
    first = 1 + min(map(len, curves.values())) // 5
    drawn = {first + round(step * (last - first) / (_MOST - 1)) for step in range(_MOST)}
    return sorted(drawn | {min(map(len, curves.values()))})  # of one point Mermaid draws no line
