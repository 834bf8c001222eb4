"""Overload and soak, on virtual time: the services are doubles whose behaviour is known."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dtrag_core.bench.clock import NS_PER_MS, NS_PER_S
from dtrag_core.bench.load_result import RefusedError
from dtrag_core.bench.overload import OverloadPlan, OverloadResult, overload
from dtrag_core.bench.service_process import Usage
from dtrag_core.bench.soak import SoakPlan, SoakResult, soak
from dtrag_core.bench.virtual import VirtualClock, run_virtual
from dtrag_core.errors import MeasuringError

pytestmark = pytest.mark.usefixtures("few_to_collect")

MIB = 2**20


@dataclass
class Shedding:
    """Serves 200 requests a second in turn; refuses within 1 ms when `queue` wait."""

    clock: VirtualClock
    queue: int = 8
    sick_until_ns: int = 0

    def __post_init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0

    async def __call__(self, request: str) -> None:
        if self.waiting >= self.queue or self.clock.now_ns() < self.sick_until_ns:
            await self.clock.sleep_until(self.clock.now_ns() + NS_PER_MS)
            raise RefusedError("refused_503")
        self.waiting += 1
        try:
            async with self.turn:
                await self.clock.sleep_until(self.clock.now_ns() + 5 * NS_PER_MS)
        finally:
            self.waiting -= 1


def overloaded(
    factor: float, sick_s: float = 0.0, measure: Callable[[VirtualClock], Usage] | None = None
) -> OverloadResult:
    plan = OverloadPlan(200, factor, seconds=30, calm_seconds=10)

    async def main(clock: VirtualClock) -> OverloadResult:
        service = Shedding(clock)
        service.sick_until_ns = int(sick_s * NS_PER_S)
        if measure is None:
            return await overload(service, ["q"], plan, clock)
        return await overload(service, ["q"], plan, clock, lambda: measure(clock))

    return run_virtual(main)


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_a_service_that_sheds_keeps_its_goodput_and_its_latency(factor: float) -> None:
    result = overloaded(factor)
    assert result.goodput_share == pytest.approx(1.0, abs=0.03)
    assert result.admitted + result.refused == pytest.approx(30 * 200 * factor, rel=0.01)
    assert result.failed == {}
    assert result.admitted_p95_ns == pytest.approx(40 * NS_PER_MS, rel=0.03)
    assert result.refused_p95_ns == pytest.approx(NS_PER_MS, rel=0.01)
    assert result.recovered_s in (0.0, 0.5)
    assert result.load.refused["refused_503"].count == sum(result.load.errors.values())
    assert result.to_json()["memory_slope"] is None


def test_recovery_is_when_the_last_request_was_refused() -> None:
    assert overloaded(1.5, sick_s=33.2).recovered_s == 3.5
    assert overloaded(1.5, sick_s=99).recovered_s is None


def usage(resident: int, descriptors: int = 20) -> Usage:
    return Usage(resident, resident // 2, descriptors, 0.0)


def test_memory_that_grows_under_overload_has_a_slope() -> None:
    grows = overloaded(1.5, measure=lambda clock: usage(100 * MIB + clock.now_ns() // 10_000))
    assert grows.memory_slope is not None
    assert grows.memory_slope.value == pytest.approx(1e5, rel=0.01)
    assert 0.0 not in grows.memory_slope
    flat = overloaded(1.5, measure=lambda clock: usage(100 * MIB + clock.now_ns() % 4_096))
    assert flat.memory_slope is not None
    assert 0.0 in flat.memory_slope


def test_an_overload_lasts_whole_half_seconds() -> None:
    with pytest.raises(MeasuringError, match="whole half seconds"):
        OverloadPlan(200, 2, seconds=10.3).load_plan()


def soaked(leak: int, slower_ns: int) -> SoakResult:
    async def main(clock: VirtualClock) -> SoakResult:
        async def service(request: str) -> None:
            aged = slower_ns * clock.now_ns() // NS_PER_S
            jitter = clock.now_ns() // 7 % NS_PER_MS
            await clock.sleep_until(clock.now_ns() + 5 * NS_PER_MS + jitter + aged)

        def measure() -> Usage:
            seconds = clock.now_ns() // NS_PER_S
            return usage(100 * MIB + leak * seconds + clock.now_ns() % 65_536, 20 + seconds % 3)

        return await soak(service, ["q"], SoakPlan(20, 600), clock, measure)

    return run_virtual(main)


def test_a_soak_finds_what_moves_and_nothing_else() -> None:
    healthy = soaked(0, 0)
    assert healthy.ok
    assert set(healthy.slopes) == {"resident_bytes", "anonymous_bytes", "descriptors", "median_ns"}
    sick = soaked(leak=2_000, slower_ns=10_000)
    assert set(sick.moving) == {"resident_bytes", "anonymous_bytes", "median_ns"}
    assert sick.slopes["resident_bytes"].value == pytest.approx(2_000, rel=0.05)
    assert sick.slopes["median_ns"].value == pytest.approx(10_000, rel=0.1)
    assert not sick.ok
    assert "median_ns grows" in sick.complaints
    assert sick.to_json()["slopes"]["median_ns"]["ci_low"] > 0


def test_what_the_watch_cannot_read_is_told_at_the_end() -> None:
    async def main(clock: VirtualClock) -> SoakResult:
        async def service(request: str) -> None:
            await clock.sleep_until(clock.now_ns() + NS_PER_MS)

        def gone() -> Usage:
            raise MeasuringError("the service ended with 1")

        return await soak(service, ["q"], SoakPlan(20, 60), clock, gone)

    with pytest.raises(MeasuringError, match="ended with 1"):
        run_virtual(main)
