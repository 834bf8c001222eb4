"""What each Locust process measured, and how the master adds it up: exactly, by adding counts.

Locust's own table rounds and averages; nothing here comes from it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_result import Segment

ANSWERED = ""
Report = dict[str, Any]


class Recorder:
    """Latencies of one process since its last report, by stream, segment and outcome.

    With a `raw` file every answered or refused latency is written there too, a line each:
    stream, segment, outcome, ns.
    """

    def __init__(self, segments: int, seconds: float, raw: TextIO | None = None) -> None:
        self._segments = segments
        self._seconds = seconds
        self._raw = raw
        self._closed = False
        self._clear()

    def _clear(self) -> None:
        self._taken: dict[tuple[str, int], dict[str, list[int]]] = {}
        self._errors: dict[tuple[str, int], Counter[str]] = {}
        self._lag: list[int] = []
        self._cached: Counter[str] = Counter()

    def _place(self, due_s: float) -> int:
        place = int(due_s * self._segments / self._seconds)
        return min(max(place, 0), self._segments - 1)

    def timed(self, stream: str, due_s: float, ns: int, refused: str = ANSWERED) -> None:
        """Count a request that was answered, or refused as a kind says, `ns` after it was due."""
        if self._closed:
            return
        where = (stream, self._place(due_s))
        self._taken.setdefault(where, {}).setdefault(refused, []).append(ns)
        if refused:
            self._errors.setdefault(where, Counter())[refused] += 1
        if self._raw is not None:
            self._raw.write(f"{stream} {where[1]} {refused or 'answered'} {ns}\n")

    def failed(self, stream: str, due_s: float, kind: str) -> None:
        """Count a request that failed."""
        if not self._closed:
            self._errors.setdefault((stream, self._place(due_s)), Counter())[kind] += 1

    def left(self, late_ns: int) -> None:
        """Count how late a request left."""
        if not self._closed:
            self._lag.append(late_ns)

    def from_cache(self, stream: str) -> None:
        """Count an answer that came from the cache."""
        self._cached[stream] += 1

    def drain(self, *, last: bool = False) -> Report:
        """Return what was counted since the last time, as JSON; after the `last` nothing is."""
        streams: dict[str, dict[str, Any]] = {}
        for stream, place in {**self._taken, **self._errors}:
            taken = self._taken.get((stream, place), {})
            part = Segment(
                Histogram.of(taken.get(ANSWERED, [])),
                dict(self._errors.get((stream, place), {})),
                {kind: Histogram.of(ns) for kind, ns in taken.items() if kind},
            )
            streams.setdefault(stream, {})[str(place)] = part.to_json()
        lag = Histogram.of(self._lag).to_json()
        report = {"streams": streams, "lag": lag, "cached": dict(self._cached)}
        self._clear()
        self._closed |= last
        if self._raw is not None:
            self._raw.flush()
        return report


def raw_file(folder: str | None, process: str) -> TextIO | None:
    """Open a process's file of raw latencies, if they are asked for."""
    if not folder:
        return None
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return (path / f"{process}.txt").open("w", encoding="utf-8")


class Merged:
    """What all processes reported together."""

    def __init__(self, segments: int) -> None:
        self._count = segments
        self._parts: dict[tuple[str, int], Segment] = {}
        self.lag = Histogram.of([])
        self.cached: Counter[str] = Counter()

    def add(self, report: Mapping[str, Any]) -> None:
        """Add one process's report."""
        for stream, parts in report["streams"].items():
            for place, data in parts.items():
                where, part = (stream, int(place)), Segment.from_json(data)
                before = self._parts.get(where)
                self._parts[where] = part if before is None else Segment.merge([before, part])
        self.lag = Histogram.merge([self.lag, Histogram.from_json(report["lag"])])
        self.cached.update(report["cached"])

    def segments(self, stream: str) -> Sequence[Segment]:
        """Return a stream's segments, those without a request too."""
        empty = Segment(Histogram.of([]), {})
        return [self._parts.get((stream, place), empty) for place in range(self._count)]

    @property
    def sent(self) -> int:
        """How many requests have come to an end."""
        return sum(part.sent for part in self._parts.values())

    @property
    def kinds(self) -> set[str]:
        """Every kind of failure there was."""
        return {kind for part in self._parts.values() for kind in part.errors}
