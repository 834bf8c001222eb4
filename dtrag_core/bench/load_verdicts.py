"""What a load on the service says of the targets, and at which step it broke."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from dtrag_core.bench.capacity import SLO_ERRORS, SLO_NS
from dtrag_core.bench.clock import NS_PER_MS, NS_PER_S
from dtrag_core.bench.gates import (
    HOST_STALLS,
    SATURATED,
    TargetResult,
    gate_errors,
    gate_percentile,
)
from dtrag_core.bench.generator import LATE_NS
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load_result import Segment
from dtrag_core.bench.scenarios import SEGMENTS
from dtrag_core.bench.shapes import Shape
from dtrag_core.targets import PERFORMANCE_TARGETS

CLOSED_LOOP: Final = "closed loop: a stall hides the requests that should have come meanwhile"
CACHED: Final = "answers came from the cache"
BUSY: Final = 0.95
"""More than this share of its core, and the generator may have been what was slow."""

STALLS_EXCUSE: Final = 0.01  # of the run's time: less cannot move a P95 past its target

P95_DEFINITION: Final = (
    "P95 of searches at the service over HTTP, open-loop arrivals of the scenario, cache off, from "
    "the intended start of each request to its last byte. A failed or refused request counts as "
    "slower than any other."
)
ERRORS_DEFINITION: Final = (
    "Failed/sent requests of the load on the service; time-outs, refusals and dropped arrivals "
    "count as failed. Clopper-Pearson interval."
)


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a rising load: `holds` says whether the service level held at its rate."""

    rate: float
    sent: int
    failed: int
    p95_ns: int | None
    holds: bool

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return {
            "rate": self.rate,
            "sent": self.sent,
            "failed": self.failed,
            "p95_ns": self.p95_ns,
            "holds": self.holds,
        }


def levels(segments: Sequence[Segment], shape: Shape) -> list[Level]:
    """Return the levels of a scenario of steps, one segment each, up to the last one begun."""
    length = shape.seconds / len(segments)
    found = []
    for place, segment in enumerate(segments):
        if segment.sent:
            p95 = segment.histogram.percentile(0.95, segment.failed)
            holds = (
                p95 is not None and p95 <= SLO_NS and segment.failed <= SLO_ERRORS * segment.sent
            )
            rate = shape.rate((place + 0.5) * length)
            found.append(Level(rate, segment.sent, segment.failed, p95, holds))
    return found


def steps_json(found: Sequence[Level]) -> dict[str, Any]:
    """Return the levels, the rate of the last that held before one broke, and of that one."""
    broke = next((place for place, level in enumerate(found) if not level.holds), None)
    held = len(found) - 1 if broke is None else broke - 1
    return {
        "levels": [level.to_json() for level in found],
        "held": found[held].rate if held >= 0 else None,
        "broke": None if broke is None else found[broke].rate,
    }


def side_by_side(streams: Sequence[Sequence[Segment]]) -> list[Segment]:
    """Return the segments of several streams as those of one: the same stretches of time."""
    return [Segment.merge(parts) for parts in zip(*streams, strict=True)]


def regrouped(segments: Sequence[Segment], count: int = SEGMENTS) -> list[Segment]:
    """Return at most `count` segments, each merged of about as many neighbours as any other."""
    count = min(count, len(segments))
    edges = [round(place * len(segments) / count) for place in range(count + 1)]
    return [Segment.merge(segments[a:b]) for a, b in pairwise(edges)]


def generator_obstacles(lag: Histogram | None, cpu_share: float | None) -> tuple[str, ...]:
    """Return why nothing may be concluded from how the generator did, if anything."""
    late = lag is not None and (lag.percentile(0.9) or 0) > LATE_NS
    busy = cpu_share is not None and cpu_share > BUSY
    return (SATURATED,) if late or busy else ()


def host_stalls(stalls_ns: Sequence[int], seconds: float) -> tuple[str, ...]:
    """Return that the host stood still for too much of a run to judge its P95, if it did."""
    return (HOST_STALLS,) if sum(stalls_ns) / NS_PER_S > STALLS_EXCUSE * seconds else ()


def judge_load(
    searches: Sequence[Segment],
    everything: Sequence[Segment],
    rate: float,
    obstacles: Sequence[str],
    only_p95: Sequence[str] = (),
) -> list[TargetResult]:
    """Return the verdicts on P95, of the searches alone, and on errors, of all streams.

    `rate`: of all arrivals, mean; below the promised one nothing is shown. `only_p95` are
    obstacles to that one alone.
    """
    promised = PERFORMANCE_TARGETS["throughput_qps"].bound
    slow = (f"loaded at {rate:g}/s, the promise is for {promised:g}/s",)
    hindered = (*obstacles, *(slow if rate < promised else ()))
    p95 = gate_percentile(
        PERFORMANCE_TARGETS["p95_latency_ms"],
        0.95,
        [(part.histogram, part.failed) for part in regrouped(searches)],
        NS_PER_MS,
        (*hindered, *only_p95),
    )
    whole = Segment.merge(everything)
    errors = gate_errors(PERFORMANCE_TARGETS["error_rate"], whole.failed, whole.sent, hindered)
    return [p95, errors]


def of_scenario(targets: Sequence[TargetResult]) -> list[dict[str, Any]]:
    """Return the verdicts on a scenario as JSON, P95 and errors defined by its arrivals."""
    definitions = (P95_DEFINITION, ERRORS_DEFINITION)
    return [
        replace(target, definition=definition).to_json()
        for target, definition in zip(targets, definitions, strict=True)
    ]
