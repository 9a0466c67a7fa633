"""Count what a server does, and write the counts in the text format of Prometheus, version 0.0.4."""

from collections import Counter


class Telemetry:
    """Count requests to `/predict` by status, the seconds of all, and batches by their number of photos."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds = 0.0
        self.batches: Counter[int] = Counter()

    def text(self) -> str:
        errors = sum(count for status, count in self.statuses.items() if status >= 400)
        lines = ["# TYPE requests_total counter"]
        lines += [f'requests_total{{status="{status}"}} {count}' for status, count in sorted(self.statuses.items())]
        lines += ["# TYPE errors_total counter", f"errors_total {errors}"]
        lines += ["# TYPE request_seconds_total counter", f"request_seconds_total {self.seconds}"]
        lines += ["# TYPE batches_total counter"]
        lines += [f'batches_total{{photos="{photos}"}} {count}' for photos, count in sorted(self.batches.items())]
        return "\n".join(lines) + "\n"
