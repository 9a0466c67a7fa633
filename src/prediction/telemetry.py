"""Count a server's requests, and write the counts in the text format of Prometheus, version 0.0.4."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PHOTOS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Histogram:
    """Count values by upper bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        yield f"# TYPE {name} histogram"
        total = 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum}"
        yield f"{name}_count {total}"


class Telemetry:
    """Count requests to `/predict` by status and by seconds, and batches by photos."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds = Histogram(SECONDS)
        self.batches = Histogram(PHOTOS)

    def text(self) -> str:
        errors = sum(count for status, count in self.statuses.items() if status >= 400)
        by_status = [f'requests_total{{status="{status}"}} {n}' for status, n in sorted(self.statuses.items())]
        lines = ["# TYPE requests_total counter", *by_status, "# TYPE errors_total counter", f"errors_total {errors}"]
        lines += [*self.seconds.lines("request_seconds"), *self.batches.lines("batch_photos")]
        return "\n".join(lines) + "\n"
