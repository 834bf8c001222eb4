import asyncio
from itertools import repeat

import numpy as np
import pytest

from dtrag_core.bench.clock import NS_PER_MS, NS_PER_S, Service
from dtrag_core.bench.doubles import (
    Busy,
    Failing,
    Queueing,
    Recording,
    Waiting,
    at_once,
    lognormal_ns,
)
from dtrag_core.bench.gates import FELL_BACK, SATURATED
from dtrag_core.bench.generator import SelfTest, self_test
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.load import Limit, run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import (
    FellBackError,
    LoadResult,
    RefusedError,
    Segment,
    UnansweredError,
)
from dtrag_core.bench.trials import stalled
from dtrag_core.bench.virtual import VirtualClock, run_virtual
from dtrag_core.errors import MeasuringError


def load(
    plan: LoadPlan,
    make: "type[Busy] | type[Waiting] | type[Queueing]" = Waiting,
    ns: int = NS_PER_MS,
    limit: Limit | None = None,
) -> LoadResult:
    async def main(clock: VirtualClock) -> LoadResult:
        return await run_load(make(clock, repeat(ns)), ["q"], plan, clock, limit=limit)

    return run_virtual(main)


def p95(result: LoadResult) -> float:
    ns = result.histogram.percentile(0.95)
    assert ns is not None
    return ns / NS_PER_MS


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_a_schedule_is_made_beforehand_and_is_as_asked(arrivals: str) -> None:
    plan = LoadPlan(50, 120, arrivals=arrivals, seed=3)  # type: ignore[arg-type]
    due = plan.schedule_ns()
    assert len(due) == 6_000
    assert (np.diff(due) >= 0).all()
    assert 0 <= due[0] <= due[-1] < 120 * NS_PER_S
    assert (due == plan.schedule_ns()).all()
    spread = np.diff(due).std() / np.diff(due).mean()
    assert spread < 1e-6 if arrivals == "constant" else 0.95 < spread < 1.05


def test_every_request_is_sent_and_lands_in_the_segment_it_was_meant_for() -> None:
    result = load(LoadPlan(20, 60, segments=6, arrivals="constant"))
    assert [segment.sent for segment in result.segments] == [200] * 6
    assert (result.sent, result.failed, result.errors) == (1_200, 0, {})
    assert result.histogram.max - result.histogram.min <= 4
    assert result.histogram.min >= NS_PER_MS
    assert result.seconds == pytest.approx(60 - 0.05 + 0.001)
    assert result.achieved == pytest.approx(20, rel=0.01)


def test_latencies_are_those_of_the_double() -> None:
    async def main(clock: VirtualClock) -> tuple[LoadResult, list[int]]:
        double = Recording(Waiting(clock, lognormal_ns(2e7, 0.5, seed=1)), clock)
        result = await run_load(double, ["q"], LoadPlan(50, 40), clock)
        return result, sorted(double.taken_ns)

    result, taken = run_virtual(main)
    reported = result.histogram.percentile(0.95)
    assert reported == pytest.approx(taken[int(0.95 * 2_000) - 1], rel=0.002)
    assert len(taken) == 2_000


def test_a_stall_is_paid_for_by_all_it_held_up() -> None:
    result = stalled()
    assert p95(result) == pytest.approx(400, rel=0.02)
    p99 = result.histogram.shown(0.99)
    assert p99 is not None
    assert p99 / NS_PER_MS == pytest.approx(480, rel=0.02)


def test_a_server_that_blocks_the_generator_hides_nothing() -> None:
    """A busy server keeps requests from leaving; a clock started late would show 5 ms each."""
    result = load(LoadPlan(220, 10, arrivals="constant"), Busy, 5 * NS_PER_MS)
    assert result.growing
    assert p95(result) > 500
    assert result.lag.max > 500 * NS_PER_MS
    assert result.cpu_share == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize(("rate", "grows"), [(180, False), (220, True)])
def test_a_backlog_that_grows_is_told_from_one_that_does_not(rate: int, grows: bool) -> None:
    result = load(LoadPlan(rate, 20), Queueing, 5 * NS_PER_MS)
    assert result.growing is grows
    if grows:
        assert result.growth == pytest.approx(1 - 200 / rate, abs=0.03)


def test_exceptions_are_counted_by_kind() -> None:
    async def main(clock: VirtualClock) -> LoadResult:
        double = Failing(at_once(clock), p=0.1, seed=2)
        return await run_load(double, ["q"], LoadPlan(100, 20, segments=4), clock)

    result = run_virtual(main)
    assert set(result.errors) == {"ConnectionError"}
    assert 140 < result.failed < 260
    assert result.histogram.count == 2_000 - result.failed
    assert sum(failed for _, failed in result.exceedances()) == result.failed


def test_refusals_are_failures_with_a_histogram_of_their_own() -> None:
    async def main(clock: VirtualClock) -> LoadResult:
        async def service(query: str) -> None:
            await clock.sleep_until(clock.now_ns() + NS_PER_MS * (3 if query == "no" else 9))
            if query == "no":
                raise RefusedError("refused_503")
            if query == "bad":
                raise UnansweredError("http_500")

        plan = LoadPlan(30, 10, segments=2, arrivals="constant")
        return await run_load(service, ["yes", "no", "bad"], plan, clock)

    result = run_virtual(main)
    assert result.errors == {"refused_503": 100, "http_500": 100}
    assert (result.sent, result.failed, result.histogram.count) == (300, 200, 100)
    assert result.refused["refused_503"].max == pytest.approx(3 * NS_PER_MS, abs=10)
    assert set(result.refused) == {"refused_503"}
    assert [segment.refused["refused_503"].count for segment in result.segments] == [50, 50]
    again = [Segment.from_json(segment) for segment in result.to_json()["segments"]]
    assert Segment.merge(again).to_json() == Segment.merge(result.segments).to_json()
    assert "refused" not in load(LoadPlan(10, 1)).to_json()["segments"][0]


def test_what_comes_back_too_late_or_never_has_timed_out() -> None:
    async def main(clock: VirtualClock) -> LoadResult:
        async def never(_: str) -> None:
            await asyncio.Event().wait()

        async def service(query: str) -> None:
            answers: dict[str, Service[str]] = {
                "quick": Waiting(clock, repeat(NS_PER_MS)),
                "late": Waiting(clock, repeat(3 * NS_PER_S)),
                "never": never,
            }
            await answers[query](query)

        plan = LoadPlan(10, 3, segments=3, arrivals="constant", timeout_s=2)
        return await run_load(service, ["quick", "late", "never"], plan, clock)

    result = run_virtual(main)
    assert result.errors == {"timeout": 20}
    assert result.histogram.count == 10
    assert result.seconds <= 5.0


def test_what_does_not_fit_in_flight_is_dropped_and_counted() -> None:
    plan = LoadPlan(100, 1, segments=1, arrivals="constant", max_in_flight=10)
    result = load(plan, Waiting, 2 * NS_PER_S)
    assert result.errors == {"dropped": 90}
    assert result.sent == 100


def test_a_lost_run_is_stopped_whether_or_not_answers_come_back() -> None:
    plan, limit = LoadPlan(100, 60), Limit(100 * NS_PER_MS, allowed=300)
    for make, ns in ((Queueing, 20 * NS_PER_MS), (Waiting, 50 * NS_PER_S)):
        lost = load(plan, make, ns, limit)
        assert lost.abandoned
        assert lost.sent < 1_000
        assert lost.histogram.count_above(limit.ns) + lost.failed > limit.allowed
        assert set(lost.errors) == {"unfinished"}, "nothing timed out: it was not waited for"
    held = load(plan, Waiting, 50 * NS_PER_MS, limit)
    assert not held.abandoned
    assert held.sent == 6_000


def test_a_fallen_back_answer_spoils_the_run() -> None:
    async def main(clock: VirtualClock) -> LoadResult:
        async def service(query: int) -> None:
            if query == 7:
                raise FellBackError("asked for optimised, ran legacy")

        return await run_load(service, range(10), LoadPlan(10, 1), clock)

    assert run_virtual(main).obstacles() == (FELL_BACK,)
    assert load(LoadPlan(10, 1)).obstacles() == ()


def test_the_generator_keeps_up_with_a_service_that_costs_nothing() -> None:
    test = run_virtual(lambda clock: self_test(50, clock))
    assert (test.rate, test.failed, test.ok, test.obstacles()) == (100, 0, True, ())
    slow = SelfTest(100, 5 * NS_PER_MS, 11 * NS_PER_MS, 0, 1.0)
    assert slow.obstacles() == (SATURATED,)


def test_a_result_is_the_same_every_time_and_json_holds_its_histograms() -> None:
    plan = LoadPlan(30, 10, segments=2, seed=5)
    data = load(plan).to_json()
    assert data == load(plan).to_json()
    parts = [Histogram.from_json(segment["histogram"]) for segment in data["segments"]]
    assert Histogram.merge(parts) == load(plan).histogram
    assert data["plan"]["rate"] == 30


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"rate": 0, "seconds": 1}, "rate=0"),
        ({"rate": 0.1, "seconds": 1}, "a request or more"),
        ({"rate": 10, "seconds": 1, "segments": 0}, "segments=0"),
        ({"rate": 10, "seconds": 1, "arrivals": "bursts"}, "'bursts'"),
    ],
)
def test_an_impossible_plan_is_refused(plan: dict[str, float], words: str) -> None:
    with pytest.raises(MeasuringError, match=words):
        LoadPlan(**plan)  # type: ignore[arg-type]


def test_nothing_to_send_is_refused() -> None:
    async def main(clock: VirtualClock) -> LoadResult:
        return await run_load(at_once(clock), [], LoadPlan(10, 1), clock)

    with pytest.raises(MeasuringError, match="at least one request"):
        run_virtual(main)
