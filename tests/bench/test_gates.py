import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.gates import (
    DEFINITIONS,
    FELL_BACK,
    HOST_STALLS,
    SATURATED,
    SPANS,
    TOO_FEW,
    TargetResult,
    Verdict,
    gate_bracket,
    gate_errors,
    gate_interval,
    gate_missing,
    gate_percentile,
)
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.statistics import Interval
from dtrag_core.errors import MeasuringError
from dtrag_core.targets import PERFORMANCE_TARGETS

P95 = PERFORMANCE_TARGETS["p95_latency_ms"]
QPS = PERFORMANCE_TARGETS["throughput_qps"]
SPEEDUP = PERFORMANCE_TARGETS["parallel_speedup"]
ERRORS = PERFORMANCE_TARGETS["error_rate"]


def segments(
    p95_ms: float, n: int = 500, k: int = 12, failed: int = 0, seed: int = 0
) -> list[tuple[Histogram, int]]:
    rng = np.random.default_rng(seed)
    values = p95_ms * 1e6 * np.exp(0.5 * (rng.standard_normal((k, n)) - 1.645))
    return [(Histogram.of(row.astype(np.int64)), failed) for row in values]


def judge(parts: list[tuple[Histogram, int]], *obstacles: str) -> TargetResult:
    return gate_percentile(P95, 0.95, parts, 1e6, obstacles)


def test_every_target_has_its_definition() -> None:
    assert set(DEFINITIONS) == set(PERFORMANCE_TARGETS)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.2, 1.9, Verdict.FAIL),
        (1.9, 2.1, Verdict.INCONCLUSIVE),
        (2.0, 2.1, Verdict.PASS),
        (1.9, 2.0, Verdict.INCONCLUSIVE),
    ],
)
def test_an_at_least_target(low: float, high: float, verdict: Verdict) -> None:
    result = gate_interval(SPEEDUP, Interval((low + high) / 2, low, high, 30))
    assert result.verdict is verdict
    assert (result.reason == SPANS) == (verdict is Verdict.INCONCLUSIVE)
    assert (result.ci_low, result.ci_high, result.n) == (low, high, 30)
    assert (result.target, result.before) == (2.0, SPEEDUP.before)


@pytest.mark.parametrize(
    ("failed", "sent", "verdict"),
    [
        (0, 368, Verdict.PASS),
        (0, 367, Verdict.INCONCLUSIVE),
        (60, 3_000, Verdict.FAIL),
        (30, 3_000, Verdict.INCONCLUSIVE),
    ],
)
def test_errors_are_judged_exactly(failed: int, sent: int, verdict: Verdict) -> None:
    assert gate_errors(ERRORS, failed, sent).verdict is verdict


def test_no_request_is_no_evidence() -> None:
    result = gate_errors(ERRORS, 0, 0)
    assert (result.verdict, result.reason, result.value) == (
        Verdict.INCONCLUSIVE,
        TOO_FEW,
        None,
    )


@pytest.mark.parametrize(
    ("p95", "verdict"),
    [(50, Verdict.PASS), (100, Verdict.INCONCLUSIVE), (130, Verdict.FAIL)],
)
def test_a_percentile_against_its_target(p95: float, verdict: Verdict) -> None:
    result = judge(segments(p95))
    assert result.verdict is verdict
    assert result.value == pytest.approx(p95, rel=0.05)
    assert result.ci_low is not None
    assert result.ci_high is not None
    assert result.value is not None
    assert result.ci_low < result.value < result.ci_high
    assert result.n == 6_000


@given(st.floats(60, 150), st.integers(0, 12), st.integers(0, 10_000))
def test_the_interval_shown_and_the_verdict_agree(p95: float, failed: int, seed: int) -> None:
    result = judge(segments(p95, n=200, failed=failed, seed=seed))
    assert result.ci_low is not None
    high = float("inf") if result.ci_high is None else result.ci_high
    assert (result.verdict is Verdict.PASS) == (high <= 100)
    assert (result.verdict is Verdict.FAIL) == (result.ci_low > 100)


def test_failed_requests_count_as_slow() -> None:
    assert judge(segments(50, failed=0)).verdict is Verdict.PASS
    assert judge(segments(50, failed=50)).verdict is Verdict.FAIL
    nothing_came_back = judge([(Histogram.of([]), 500)] * 12)
    assert nothing_came_back.verdict is Verdict.FAIL
    assert (nothing_came_back.value, nothing_came_back.ci_high) == (None, None)


def test_slow_segments_among_fast_ones_leave_the_verdict_open() -> None:
    fast, slow = segments(50, k=12), segments(110, k=12)
    mixed = [*fast[:8], *slow[8:]]
    pooled = Histogram.merge(histogram for histogram, _ in mixed)
    p95 = pooled.percentile(0.95)
    assert p95 is not None
    assert p95 < 95e6
    assert judge(mixed).verdict is Verdict.INCONCLUSIVE


def test_too_few_samples_show_no_percentile() -> None:
    result = judge(segments(50, n=83))
    assert (result.verdict, result.reason, result.value) == (Verdict.INCONCLUSIVE, TOO_FEW, None)
    assert judge(segments(50, n=1_200, k=1)).reason == TOO_FEW


@pytest.mark.parametrize("obstacle", [SATURATED, FELL_BACK])
@pytest.mark.parametrize("p95", [50, 130])
def test_a_bad_run_concludes_nothing(obstacle: str, p95: float) -> None:
    result = judge(segments(p95), obstacle)
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, obstacle)
    assert result.value == pytest.approx(p95, rel=0.05)


def test_host_stalls_excuse_a_fail_but_do_not_take_back_a_pass() -> None:
    assert judge(segments(50), HOST_STALLS).verdict is Verdict.PASS
    failed = judge(segments(130), HOST_STALLS)
    assert (failed.verdict, failed.reason) == (Verdict.INCONCLUSIVE, HOST_STALLS)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "reason"),
    [
        (60.0, 66.0, Verdict.PASS, None),
        (60.0, None, Verdict.PASS, None),
        (45.0, 49.5, Verdict.FAIL, None),
        (None, 50.0, Verdict.FAIL, None),
        (50.0, 55.0, Verdict.PASS, None),
        (48.0, 52.0, Verdict.INCONCLUSIVE, SPANS),
        (45.0, None, Verdict.INCONCLUSIVE, "out of time"),
        (None, None, Verdict.INCONCLUSIVE, "out of time"),
    ],
)
def test_a_bracket_is_judged_by_its_confirmed_ends(
    low: float | None, high: float | None, verdict: Verdict, reason: str | None
) -> None:
    shortfall = "out of time" if low is None or high is None else ""
    result = gate_bracket(QPS, low, high, 2_000, shortfall)
    assert result.verdict is verdict
    assert reason is None or result.reason == reason
    assert result.value == low


def test_a_result_goes_into_json_under_its_names() -> None:
    assert gate_missing(SPEEDUP, "no legacy arm").to_json() == {
        "metric": "parallel_speedup",
        "target": 2.0,
        "value": None,
        "ci_low": None,
        "ci_high": None,
        "n": 0,
        "verdict": "INCONCLUSIVE",
        "reason": "no legacy arm",
        "definition": DEFINITIONS["parallel_speedup"],
        "before": "new",
    }


def test_a_percentile_is_no_at_least_target() -> None:
    with pytest.raises(MeasuringError, match="throughput_qps"):
        gate_percentile(QPS, 0.95, segments(50), 1e6)
