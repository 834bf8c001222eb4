"""The six Phase 2 targets: what is promised, in which direction, and what was true before."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Direction = Literal["at_most", "at_least"]


@dataclass(frozen=True, slots=True)
class Target:
    """One promise.

    `bound` is in `unit`; `direction` says on which side of it the promise is kept; `before` is
    what the report this project checks says was true before the optimisation.
    """

    metric: str
    bound: float
    direction: Direction
    unit: str
    before: str

    def __str__(self) -> str:
        sign = "<=" if self.direction == "at_most" else ">="
        return f"{sign} {self.bound:g}{' ' + self.unit if self.unit else ''}"


PERFORMANCE_TARGETS: Final[Mapping[str, Target]] = MappingProxyType(
    {
        target.metric: target
        for target in (
            Target("p95_latency_ms", 100.0, "at_most", "ms", "200 ms and more"),
            Target("throughput_qps", 50.0, "at_least", "queries/s", "new"),
            Target("cache_hit_rate", 0.70, "at_least", "", "0.75"),
            Target("memory_efficiency", 0.50, "at_least", "less memory", "new"),
            Target("parallel_speedup", 2.0, "at_least", "x", "new"),
            Target("error_rate", 0.01, "at_most", "", "new"),
        )
    }
)
