"""What comes back from a load: latencies of the answered, counts of the failed, by segment."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from dtrag_core.bench.gates import FELL_BACK
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.errors import MeasuringError

GROWTH_LIMIT: Final = 0.02


class FellBackError(MeasuringError):
    """A service answered in another mode than the one measured, or only in part."""


class UnansweredError(MeasuringError):
    """A request that came back without its answer; counted under `kind`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class RefusedError(UnansweredError):
    """A request that the service refused to take: how long that took is kept by kind."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of the load: its answered requests' latencies, and its failed ones by kind.

    `refused`: of those failed by being refused, how long that took, by kind.
    """

    histogram: Histogram
    errors: Mapping[str, int]
    refused: Mapping[str, Histogram] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return sum(self.errors.values())

    @property
    def sent(self) -> int:
        """How many requests were due."""
        return self.histogram.count + self.failed

    def to_json(self) -> dict[str, Any]:
        """Return `histogram`, `sent`, `errors` (kind -> count), and `refused` if there are any."""
        refused = {kind: histogram.to_json() for kind, histogram in self.refused.items()}
        return {
            "histogram": self.histogram.to_json(),
            "sent": self.sent,
            "errors": dict(self.errors),
            **({"refused": refused} if refused else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the segment that `to_json` wrote."""
        refused = {k: Histogram.from_json(h) for k, h in data.get("refused", {}).items()}
        return cls(Histogram.from_json(data["histogram"]), dict(data["errors"]), refused)

    @classmethod
    def merge(cls, parts: Iterable["Segment"]) -> Self:
        """Return the segment of all requests of all parts."""
        whole = tuple(parts)
        kinds = dict.fromkeys(kind for part in whole for kind in part.refused)
        return cls(
            Histogram.merge(part.histogram for part in whole),
            dict(sum((Counter(part.errors) for part in whole), Counter())),
            {
                kind: Histogram.merge(p.refused[kind] for p in whole if kind in p.refused)
                for kind in kinds
            },
        )


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What came back.

    `lag`: how late each request really left. `growth`: the share of the arrivals by which the
    backlog rose over the run (least squares). `cpu_share`: processor seconds per second, over all
    threads of the process. `seconds`: from the start to the last answer or failure. `abandoned`:
    the run was stopped because it could no longer hold its limit.
    """

    plan: LoadPlan
    segments: tuple[Segment, ...]
    lag: Histogram
    growth: float
    cpu_share: float
    seconds: float
    abandoned: bool = False

    @property
    def histogram(self) -> Histogram:
        """All answered requests."""
        return Histogram.merge(segment.histogram for segment in self.segments)

    @property
    def errors(self) -> dict[str, int]:
        """Failed requests by kind: `timeout`, `dropped`, or the name of the exception."""
        return dict(sum((Counter(segment.errors) for segment in self.segments), Counter()))

    @property
    def refused(self) -> dict[str, Histogram]:
        """How long it took to refuse those that were refused, by kind."""
        return dict(Segment.merge(self.segments).refused)

    @property
    def failed(self) -> int:
        """How many requests failed, refused ones included."""
        return sum(segment.failed for segment in self.segments)

    @property
    def sent(self) -> int:
        """How many requests were due, dropped ones included."""
        return sum(segment.sent for segment in self.segments)

    @property
    def growing(self) -> bool:
        """Whether the backlog grew by more than 2 % of the arrivals."""
        return self.growth > GROWTH_LIMIT

    @property
    def achieved(self) -> float:
        """Answered requests per s."""
        return (self.sent - self.failed) / self.seconds

    def exceedances(self) -> list[tuple[Histogram, int]]:
        """Return each segment's histogram and failures, as `gate_percentile` takes them."""
        return [(segment.histogram, segment.failed) for segment in self.segments]

    def obstacles(self) -> tuple[str, ...]:
        """Return why nothing may be concluded from this run, if anything."""
        return (FELL_BACK,) if FellBackError.__name__ in self.errors else ()

    def to_json(self) -> dict[str, Any]:
        """Return the plan, the segments, and what the generator noted about itself."""
        return {
            "plan": self.plan.to_json(),
            "segments": [segment.to_json() for segment in self.segments],
            "sent": self.sent,
            "errors": self.errors,
            "lag": self.lag.to_json(),
            "growth": self.growth,
            "cpu_share": self.cpu_share,
            "seconds": self.seconds,
            "achieved": self.achieved,
            "abandoned": self.abandoned,
        }
