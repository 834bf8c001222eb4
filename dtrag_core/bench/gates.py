"""Verdicts: a measured value with its interval, against a target.

PASS when the interval lies wholly on the right side, FAIL when wholly on the wrong one, else
INCONCLUSIVE, with the reason. INCONCLUSIVE is never rounded to PASS.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from dtrag_core.bench.histogram import CARRIED_FROM, Histogram
from dtrag_core.bench.statistics import Interval, clopper_pearson, clustered_share
from dtrag_core.errors import MeasuringError
from dtrag_core.targets import Target

TOO_FEW: Final = "too few samples"
SPANS: Final = "interval spans the target"
HOST_STALLS: Final = "host stalls"
SATURATED: Final = "generator saturated"
FELL_BACK: Final = "a request fell back"
RIGHT_SIDE: Final = "the whole interval holds the target"
WRONG_SIDE: Final = "the whole interval misses the target"

DEFINITIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "p95_latency_ms": (
            "P95 of the optimised path at the service, cache off, open-loop arrivals at the target "
            "rate, from the intended start of each request to the last byte of its answer over "
            "HTTP on this machine. A failed request counts as slower than any other."
        ),
        "throughput_qps": (
            "Max QPS under the SLO at the service, cache off: the highest open-loop rate that "
            "holds P95 <= 100 ms and errors <= 1 % without a growing backlog, as a bracket between "
            "a confirmed pass and a confirmed fail at most 10 % above it. The verdict uses the "
            "lower end."
        ),
        "cache_hit_rate": (
            "Hits per request from a cold start of the service under the frozen mix: Zipf s = 1, "
            "5,000 distinct queries, 20,000 requests, capacity 1,000; interval over 20 streams."
        ),
        "memory_efficiency": (
            "1 - optimised/legacy bytes of the vector leg: codes, lists, graph, and every resident "
            "byte of a rescoring store."
        ),
        "parallel_speedup": (
            "Legacy/optimised, geometric mean over rounds of the ratio of mean latencies, cache "
            "off, at equal quality."
        ),
        "error_rate": (
            "Failed/sent requests of the load run; time-outs, refusals and dropped arrivals count "
            "as failed. Clopper-Pearson interval."
        ),
    }
)
"""What each target's value is, in words; printed beside every value."""

IN_PROCESS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "p95_latency_ms": (
            "P95 of the optimised path, cache off, open-loop arrivals at the target rate, from the "
            "intended start of each request to its completion; measured in process, without a "
            "network."
        ),
        "throughput_qps": "Max QPS under the SLO of the optimised path in process, cache off.",
        "error_rate": "Failed/sent requests of the load run in process.",
        "cache_hit_rate": "Hits per request of the cache in process, under the same mix.",
    }
)
"""The same where searches are called in process: shown beside, never the verdict."""


class Verdict(StrEnum):
    """What a measurement says of a promise."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One target, measured. `value` and the ends of its interval are in the target's unit.

    They are None where the samples do not carry them.
    """

    metric: str
    target: float
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    verdict: Verdict
    reason: str
    definition: str
    before: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return {
            "metric": self.metric,
            "target": self.target,
            "value": self.value,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "n": self.n,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "definition": self.definition,
            "before": self.before,
        }


def _result(
    target: Target,
    value: float | None,
    low: float | None,
    high: float | None,
    n: int,
    verdict: Verdict,
    reason: str,
) -> TargetResult:
    return TargetResult(
        metric=target.metric,
        target=target.bound,
        value=value,
        ci_low=low,
        ci_high=high,
        n=n,
        verdict=verdict,
        reason=reason,
        definition=DEFINITIONS[target.metric],
        before=target.before,
    )


def _judge(holds: bool, misses: bool, obstacles: Sequence[str]) -> tuple[Verdict, str]:
    """Turn the two sides of a test into a verdict; an obstacle forbids any.

    Host stalls only ever make things look worse, so they do not take back a PASS.
    """
    hindering = [each for each in obstacles if not (holds and each == HOST_STALLS)]
    if hindering:
        return Verdict.INCONCLUSIVE, "; ".join(dict.fromkeys(hindering))
    if holds:
        return Verdict.PASS, RIGHT_SIDE
    return (Verdict.FAIL, WRONG_SIDE) if misses else (Verdict.INCONCLUSIVE, SPANS)


def gate_missing(target: Target, reason: str) -> TargetResult:
    """Return INCONCLUSIVE for a target that could not be measured, and why."""
    return _result(target, None, None, None, 0, Verdict.INCONCLUSIVE, reason)


def gate_interval(
    target: Target, interval: Interval, obstacles: Sequence[str] = ()
) -> TargetResult:
    """Judge a value by its interval. `obstacles` are reasons why nothing may be concluded."""
    if target.direction == "at_most":
        holds, misses = interval.high <= target.bound, interval.low > target.bound
    else:
        holds, misses = interval.low >= target.bound, interval.high < target.bound
    verdict, reason = _judge(holds, misses, obstacles)
    return _result(target, interval.value, interval.low, interval.high, interval.n, verdict, reason)


def gate_errors(
    target: Target, failed: int, sent: int, obstacles: Sequence[str] = ()
) -> TargetResult:
    """Judge the share of failed requests by its Clopper-Pearson interval."""
    if not sent:
        return gate_missing(target, TOO_FEW)
    low, high = clopper_pearson(failed, sent)
    return gate_interval(target, Interval(failed / sent, low, high, sent), obstacles)


def gate_bracket(
    target: Target,
    low: float | None,
    high: float | None,
    n: int,
    shortfall: str = "",
    obstacles: Sequence[str] = (),
) -> TargetResult:
    """Judge a rate's bracket: `low` is confirmed to hold, `high` not to; either may be unknown.

    The value is the lower end. `n` is the number of requests of the confirming steps; `shortfall`
    says why an end is missing or the bracket wide, and is the reason given where nothing follows.
    """
    holds = low is not None and low >= target.bound
    misses = high is not None and high <= target.bound
    verdict, reason = _judge(holds, misses, obstacles)
    if shortfall and reason == SPANS:
        reason = shortfall
    return _result(target, low, low, high, n, verdict, reason)


def gate_percentile(
    target: Target,
    q: float,
    segments: Sequence[tuple[Histogram, int]],
    ns_per_unit: float,
    obstacles: Sequence[str] = (),
) -> TargetResult:
    """Judge an at-most target on the q-quantile of latency as an exceedance, by segments.

    `segments`: of each, the histogram of answered requests and the number of failed ones, which
    count as slower than any. "P95 <= T" is judged as "Pr(L > T) <= 0.05" with `clustered_share`.
    The interval shown holds the thresholds that the same test leaves open, its upper end None if
    the failed reach into it; `ns_per_unit` converts the target's unit. Raises `MeasuringError` for
    an at-least target.
    """
    if target.direction != "at_most":
        raise MeasuringError(f"{target.metric} is not an at-most target on a latency")
    filled = [(h, failed) for h, failed in segments if h.count + failed]
    pooled, failed = Histogram.merge(h for h, _ in filled), sum(failed for _, failed in filled)
    n = pooled.count + failed
    if n < CARRIED_FROM[q] or len(filled) < 2:
        return _result(target, None, None, None, n, Verdict.INCONCLUSIVE, TOO_FEW)
    allowed = 1 - q

    def share(ns: int) -> Interval:
        return clustered_share(
            [h.count_above(ns) + lost for h, lost in filled], [h.count + lost for h, lost in filled]
        )

    # Each end is searched on the side of the target where the test puts it, so that the interval
    # shown and the verdict cannot disagree.
    bound = int(target.bound * ns_per_unit)
    steps = sorted({*pooled.thresholds(), bound})
    at, here = steps.index(bound), share(bound)
    holds, misses = here.high <= allowed, here.low > allowed
    high_at = bisect_left(
        steps,
        x=True,
        lo=0 if holds else at + 1,
        hi=at + 1 if holds else len(steps),
        key=lambda ns: share(ns).high <= allowed,
    )
    low_at = bisect_left(
        steps,
        x=True,
        lo=at + 1 if misses else 0,
        hi=len(steps) if misses else at + 1,
        key=lambda ns: share(ns).low <= allowed,
    )
    value = pooled.percentile(q, failed)
    verdict, reason = _judge(holds, misses, obstacles)
    return _result(
        target,
        None if value is None else value / ns_per_unit,
        steps[min(low_at, len(steps) - 1)] / ns_per_unit,
        steps[high_at] / ns_per_unit if high_at < len(steps) else None,
        n,
        verdict,
        reason,
    )
