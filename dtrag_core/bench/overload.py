"""Overload: what a service does beyond its sustainable rate, and how soon it is itself again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from dtrag_core.bench.capacity import SLO_NS
from dtrag_core.bench.clock import Clock, Service, T
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult, Segment
from dtrag_core.bench.shapes import Shape
from dtrag_core.bench.slopes import slope_interval
from dtrag_core.bench.statistics import Interval
from dtrag_core.bench.usage_watch import Measure, UsageWatch
from dtrag_core.errors import MeasuringError

_A_SEGMENT_S: Final = 0.5
SETTLING: Final = 1 / 6
"""The share of the overload left out of the memory's slope: buffers fill first."""


@dataclass(frozen=True, slots=True)
class OverloadPlan:
    """`factor` times the `sustainable` rate for `seconds`, then little of it for `calm_seconds`.

    `calm` is the share of the sustainable rate it falls to.
    """

    sustainable: float
    factor: float
    seconds: float = 60.0
    calm: float = 0.2
    calm_seconds: float = 15.0
    seed: int = 0
    timeout_s: float = 5.0
    max_in_flight: int = 4_000

    def shape(self) -> Shape:
        """Return the rate over time."""
        high, low = self.factor * self.sustainable, self.calm * self.sustainable
        end = self.seconds + self.calm_seconds
        return Shape(((0, high), (self.seconds, high), (self.seconds, low), (end, low)))

    def load_plan(self) -> LoadPlan:
        """Return the load, in segments of half a second."""
        shape = self.shape()
        parts = round(shape.seconds / _A_SEGMENT_S)
        if abs(parts * _A_SEGMENT_S - shape.seconds) > 1e-9 or self.seconds % _A_SEGMENT_S:
            raise MeasuringError(
                f"an overload lasts whole half seconds, not {self.seconds:g} and "
                f"{self.calm_seconds:g} s"
            )
        return LoadPlan.shaped(
            shape,
            segments=parts,
            seed=self.seed,
            timeout_s=self.timeout_s,
            max_in_flight=self.max_in_flight,
        )


@dataclass(frozen=True, slots=True)
class OverloadResult:
    """What came of it.

    `goodput`: requests due during the overload and answered within 100 ms of when they were due,
    per s; `goodput_share` of the sustainable rate. P95 are of the admitted (all answered) and of
    the refused, ns. `failed`: neither answered nor refused, by kind. `recovered_s`: from the fall
    of the load to when the last request was due that was not answered, rounded up to half a
    second; None if they still failed at the end. `memory_slope`: resident bytes per s during the
    overload, `anonymous_slope` those with no file behind them.
    """

    plan: OverloadPlan
    load: LoadResult
    goodput: float
    admitted: int
    refused: int
    failed: dict[str, int]
    admitted_p95_ns: int | None
    refused_p95_ns: int | None
    recovered_s: float | None
    memory_slope: Interval | None
    anonymous_slope: Interval | None

    @property
    def goodput_share(self) -> float:
        """Goodput over the sustainable rate."""
        return self.goodput / self.plan.sustainable

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names, and `goodput_share`."""
        slopes = {"memory_slope": self.memory_slope, "anonymous_slope": self.anonymous_slope}
        return {
            "plan": asdict(self.plan),
            "load": self.load.to_json(),
            "goodput": self.goodput,
            "goodput_share": self.goodput_share,
            "admitted": self.admitted,
            "refused": self.refused,
            "failed": self.failed,
            "admitted_p95_ns": self.admitted_p95_ns,
            "refused_p95_ns": self.refused_p95_ns,
            "recovered_s": self.recovered_s,
            **{name: one and one.to_json() for name, one in slopes.items()},
        }


async def overload(
    service: Service[T],
    requests: Sequence[T],
    plan: OverloadPlan,
    clock: Clock,
    measure: Measure | None = None,
) -> OverloadResult:
    """Send more than the service can sustain, then little, and return what it did.

    `measure` reads what its processes hold (`ServiceProcess.usage`); without it there are no
    slopes. What it refuses must raise RefusedError.
    """
    load = plan.load_plan()
    if measure is None:
        result = await run_load(service, requests, load, clock)
        return _judged(plan, result, None, None)
    async with UsageWatch(measure, clock) as watch:
        result = await run_load(service, requests, load, clock)
    times, held = watch.between(SETTLING * plan.seconds, plan.seconds)
    anonymous = [usage.anonymous for usage in held if usage.anonymous is not None]
    return _judged(
        plan,
        result,
        slope_interval(times, [usage.resident for usage in held]),
        slope_interval(times, anonymous) if len(anonymous) == len(held) else None,
    )


def _judged(
    plan: OverloadPlan, load: LoadResult, memory: Interval | None, anonymous: Interval | None
) -> OverloadResult:
    busy = round(plan.seconds / _A_SEGMENT_S)
    part = Segment.merge(load.segments[:busy])
    refused = Histogram.merge(part.refused.values())
    return OverloadResult(
        plan=plan,
        load=load,
        goodput=(part.histogram.count - part.histogram.count_above(SLO_NS)) / plan.seconds,
        admitted=part.histogram.count,
        refused=refused.count,
        failed={kind: n for kind, n in part.errors.items() if kind not in part.refused},
        admitted_p95_ns=part.histogram.percentile(0.95),
        refused_p95_ns=refused.percentile(0.95),
        recovered_s=_recovered(load.segments[busy:]),
        memory_slope=memory,
        anonymous_slope=anonymous,
    )


def _recovered(calm: Sequence[Segment]) -> float | None:
    """Return when the last request failed that was due after the fall, in whole segments."""
    failing = [place for place, segment in enumerate(calm, start=1) if segment.failed]
    last = failing[-1] if failing else 0
    return None if last == len(calm) else last * _A_SEGMENT_S
