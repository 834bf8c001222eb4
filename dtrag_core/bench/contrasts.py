"""How two runs differ in one metric: each has a test of its own, fit to what was drawn at random.

Absolute times are divided by the reference kernel that was timed in every round, because machines
differ from hour to hour. Fresh processes of the same code differ too: rounds are run in several,
whose means are the units; a load runs in one, so their spread is a noise floor of its own.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.statistics import welch

_QUANTILE: Final = 0.95
_ONE_SIDE: Final = 0.975
_ONE_ONLY: Final = "a single process, segment or stream says nothing of how much they vary"

Result: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a metric's own test says, before Holm and the noise floor.

    `a`, `b`: the values as their runs give them. `ratio`: b/a with the ends of its interval; of
    times, after division by the reference kernel. `exact`: of values that are not tested, whether
    they differ. `floor`: relative, of the test itself; None for values that noise does not touch.
    """

    a: float | None
    b: float | None
    why: str
    ratio: tuple[float | None, float | None, float | None] = (None, None, None)
    p: float | None = None
    exact: bool | None = None
    floor: float | None = 0.0


@dataclass(frozen=True, slots=True)
class _Load:
    """A load run: of each segment the answered requests and the number of failed ones.

    Thresholds are in units of `reference_ns`; a failed request exceeds any.
    """

    segments: tuple[tuple[Histogram, int], ...]
    reference_ns: float

    @classmethod
    def of(cls, result: Result) -> Self:
        parts = [
            (Histogram.from_json(each["histogram"]), sum(each["errors"].values()))
            for each in result["load"]["segments"]
        ]
        filled = tuple((h, failed) for h, failed in parts if h.count + failed)
        return cls(filled, _reference_ns(result))

    @property
    def pooled(self) -> Histogram:
        return Histogram.merge(histogram for histogram, _ in self.segments)

    def p95(self) -> float | None:
        p95 = self.pooled.percentile(_QUANTILE, sum(failed for _, failed in self.segments))
        return None if p95 is None else p95 / self.reference_ns

    def exceeding(self, threshold: float) -> NDArray[np.float64]:
        """Return of each segment how many exceed a threshold, and how many there were: [2, n]."""
        ns = round(threshold * self.reference_ns)
        counts = [(h.count_above(ns) + failed, h.count + failed) for h, failed in self.segments]
        return np.array(counts, dtype=np.float64).T


def _value(result: Result, metric: str) -> float | None:
    value: float | None = next(t["value"] for t in result["targets"] if t["metric"] == metric)
    return value


def _reference_ns(result: Result) -> float:
    """Return the run's typical time of the reference kernel, ns."""
    return float(
        np.median([ns for each in result["speedup"]["rounds"] for ns in each["reference_ns"]])
    )


def _relative(result: Result, arm: str, by: str | None = None) -> NDArray[np.float64]:
    """Return of each process the geometric mean over rounds of an arm's mean latency.

    In units of the reference kernel, or of the arm `by`, of the same round.
    """
    means = []
    for process in result["speedup"]["rounds"]:
        unit = process["reference_ns"] if by is None else process["arms"][by]
        means.append(np.exp(np.mean(np.log(process["arms"][arm]) - np.log(unit))))
    return np.array(means)


def _process_floor(a: Result, b: Result) -> float | None:
    """Return by how much one fresh process of either run may differ from one of the other.

    A load runs in one process a run, so this much of a difference is chance: the 95 % bound of the
    difference of two draws, from the spread of the optimised arm between each run's processes.
    None if a run had a single process.
    """
    logs = [np.log(_relative(each, "optimized")) for each in (a, b)]
    if min(len(each) for each in logs) < 2:
        return None
    spread = math.sqrt(sum(float(each.var(ddof=1)) for each in logs))
    freedom = sum(len(each) - 1 for each in logs)
    return math.expm1(float(stats.t.ppf(_ONE_SIDE, freedom)) * spread)


def _p95(a: Result, b: Result) -> Finding:
    """Compare the segments' shares of requests above the pooled P95."""
    shown = _value(a, "p95_latency_ms"), _value(b, "p95_latency_ms")
    left, right = _Load.of(a), _Load.of(b)
    p95_a, p95_b, floor = left.p95(), right.p95(), _process_floor(a, b)
    if p95_a is None or p95_b is None:
        return Finding(*shown, "not tested, a run has no P95: too many failed, or nothing was sent")
    ratio = p95_b / p95_a, None, None
    if floor is None or min(len(left.segments), len(right.segments)) < 2:
        return Finding(*shown, f"not tested, {_ONE_ONLY}", ratio)

    def within(threshold: float) -> bool:
        over, of = np.hstack([load.exceeding(threshold) for load in (left, right)]).sum(axis=1)
        return bool(over <= (1 - _QUANTILE) * of)

    steps = sorted(
        ns / load.reference_ns for load in (left, right) for ns in load.pooled.thresholds()
    )
    pooled_p95 = steps[bisect_left(steps, x=True, hi=len(steps) - 1, key=within)]
    over_a, of_a = left.exceeding(pooled_p95)
    over_b, of_b = right.exceeding(pooled_p95)
    why = f"Welch on exceedances of the pooled P95, {len(of_a)} against {len(of_b)} segments"
    return Finding(*shown, why, ratio, _welch(over_a / of_a, over_b / of_b), floor=floor)


def _welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the p-value of Welch's test (1947); 1 or 0 where neither side varies."""
    if np.ptp(a) == np.ptp(b) == 0:
        return 1.0 if a[0] == b[0] else 0.0
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def _throughput(a: Result, b: Result) -> Finding:
    """Compare brackets: different only if disjoint, as measured and relative to the reference."""
    (low_a, high_a), (low_b, high_b) = (
        (each["capacity"]["low"], each["capacity"]["high"] or math.inf) for each in (a, b)
    )
    floor, speed = _process_floor(a, b), _reference_ns(b) / _reference_ns(a)
    if low_a is None or low_b is None:
        return Finding(low_a, low_b, "not decided, no rate was confirmed to hold")
    ratio = speed * low_b / low_a, None, None
    if floor is None:
        return Finding(low_a, low_b, f"not decided, {_ONE_ONLY}", ratio)
    floor = max(floor, *(float(each["noise_floor"]["floor"]) for each in (a, b)))
    # What is not doubtful is the gap between the brackets, and only that is held against the floor.
    gap = max(min(1.0, speed) * low_b / high_a, low_a / (max(1.0, speed) * high_b))
    apart = gap > 1 + floor
    where = "exceeds" if apart else "is within"
    why = f"the gap between the brackets {where} the noise floor, {floor:.1%}"
    return Finding(low_a, low_b, why, ratio, exact=apart, floor=None)


def _cache(a: Result, b: Result) -> Finding:
    rate_a, rate_b = (np.array(each["cache"]["streams"], dtype=np.float64) for each in (a, b))
    shown = float(rate_a.mean()), float(rate_b.mean())
    ratio = _quotient(*shown), None, None
    if min(len(rate_a), len(rate_b)) < 2:
        return Finding(*shown, f"not tested, {_ONE_ONLY}", ratio)
    why = f"Welch, {len(rate_a)} against {len(rate_b)} streams"
    return Finding(*shown, why, ratio, _welch(rate_a, rate_b), floor=None)


def _memory(a: Result, b: Result) -> Finding:
    leg_a, leg_b = (each["memory"]["inside"]["vector_leg"] for each in (a, b))
    ratio = leg_b["optimized_bytes"] / leg_a["optimized_bytes"], None, None
    why = f"bytes are exact: {leg_a['optimized_bytes']:,} against {leg_b['optimized_bytes']:,}"
    shown = leg_a["efficiency"], leg_b["efficiency"]
    return Finding(*shown, why, ratio, exact=leg_a != leg_b, floor=None)


def _errors(a: Result, b: Result) -> Finding:
    (failed_a, sent_a), (failed_b, sent_b) = (
        (sum(each["load"]["errors"].values()), each["load"]["sent"]) for each in (a, b)
    )
    if not (sent_a and sent_b):
        return Finding(None, None, "not tested, a run sent nothing")
    table = np.array([[failed_a, sent_a - failed_a], [failed_b, sent_b - failed_b]])
    p = float(stats.fisher_exact(table).pvalue)
    shown = failed_a / sent_a, failed_b / sent_b
    why = f"Fisher, {failed_a} of {sent_a:,} against {failed_b} of {sent_b:,}"
    return Finding(*shown, why, (_quotient(*shown), None, None), p, floor=None)


def _quotient(a: float, b: float) -> float | None:
    return b / a if a > 0 else None


def _processes(
    a: NDArray[np.float64], b: NDArray[np.float64], shown: tuple[float | None, float | None]
) -> Finding:
    """Compare what each fresh process came to, by Welch's test on logarithms."""
    if min(len(a), len(b)) < 2:
        return Finding(*shown, f"not tested, {_ONE_ONLY}")
    ratio, p = welch(b, a)
    why = f"Welch on logs, {len(a)} against {len(b)} fresh processes"
    return Finding(*shown, why, (ratio.value, ratio.low, ratio.high), p)


def _speedup(a: Result, b: Result) -> Finding:
    mean_a, mean_b = (_relative(each, "legacy", by="optimized") for each in (a, b))
    return _processes(
        mean_a, mean_b, (_value(a, "parallel_speedup"), _value(b, "parallel_speedup"))
    )


def _latency(arm: str) -> Callable[[Result, Result], Finding]:
    def find(a: Result, b: Result) -> Finding:
        shown = a["modes"][arm]["mean_ms"], b["modes"][arm]["mean_ms"]
        return _processes(_relative(a, arm), _relative(b, arm), shown)

    return find


CONTRASTS: Final[Mapping[str, Callable[[Result, Result], Finding]]] = {
    "p95_latency_ms": _p95,
    "throughput_qps": _throughput,
    "cache_hit_rate": _cache,
    "memory_efficiency": _memory,
    "parallel_speedup": _speedup,
    "error_rate": _errors,
    "legacy_mean_ms": _latency("legacy"),
    "optimized_mean_ms": _latency("optimized"),
}
"""The six targets and the mean latencies that explain them."""
