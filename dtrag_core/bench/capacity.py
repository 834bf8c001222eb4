"""Max QPS under the SLO: the highest open-loop rate that holds, as a confirmed bracket.

Rates lie on a grid, every second one 10 % above the last; a rate is confirmed by two runs with
fresh seeds saying the same (or by the majority, where they differed). The search gallops from a
closed-loop guess, halves the gap, then confirms the ends, all within a time budget.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from dtrag_core.bench.clock import NS_PER_MS, NS_PER_S, Clock, Service, T
from dtrag_core.bench.gates import FELL_BACK, SATURATED
from dtrag_core.bench.generator import SelfTest, self_test
from dtrag_core.bench.histogram import CARRIED_FROM
from dtrag_core.bench.load import Limit, run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult

SLO_NS: Final = 100 * NS_PER_MS
SLO_ERRORS: Final = 0.01
WIDTH: Final = 1.10
OUT_OF_TIME: Final = "the time budget ended before the bracket was narrow and confirmed"
_STEPS_WIDE: Final = 2
_REST_NS: Final = 200 * NS_PER_MS
_GUESS_FROM: Final = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """One run at one rate. `p95_ns` is None where the failed reach into it; `holds` is its verdict.

    `saturated`: the generator alone could not keep up either, so that a failure is not the
    service's.
    """

    rate: float
    achieved: float
    p95_ns: int | None
    sent: int
    failed: int
    growth: float
    seconds: float
    abandoned: bool
    holds: bool
    saturated: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CapacityResult:
    """The bracket: `low` is confirmed to hold, `high` confirmed not to; None is unknown.

    `n`: requests sent at the two. `reason` is empty where the bracket is confirmed and at most 10 %
    wide, else it says what is missing. `guess` is the closed loop's.
    """

    low: float | None
    high: float | None
    n: int
    reason: str
    guess: float
    steps: tuple[Step, ...]
    self_tests: tuple[SelfTest, ...] = ()

    def obstacles(self) -> tuple[str, ...]:
        """Return why nothing may be concluded, if anything."""
        return (FELL_BACK,) if self.reason == FELL_BACK else ()

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return {
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "reason": self.reason,
            "guess": self.guess,
            "steps": [step.to_json() for step in self.steps],
            "self_tests": [test.to_json() for test in self.self_tests],
        }


async def closed_loop_rate(
    service: Service[T], requests: Sequence[T], clock: Clock, *, seconds: float, workers: int = 4
) -> float:
    """Return requests per s with `workers` each sending as soon as it is answered: a closed loop.

    Another experiment than the open loop: a first guess of capacity, never a verdict. Failed
    requests do not count. Ends after `seconds`, or 20,000 requests.
    """
    start, tried, answered = clock.now_ns(), 0, 0
    end = start + int(seconds * NS_PER_S)

    async def worker() -> None:
        nonlocal tried, answered
        while clock.now_ns() < end and tried < _GUESS_FROM:
            tried += 1
            with suppress(Exception):
                await service(requests[tried % len(requests)])
                answered += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(worker() for _ in range(workers)))
    return answered / (max(clock.now_ns() - start, 1) / NS_PER_S)


History = Mapping[int, Sequence[bool]]
"""What each run at each place of the grid said."""


def _lead(runs: Sequence[bool]) -> int:
    """Return by how many runs a rate held more often than not."""
    return 2 * sum(runs) - len(runs)


def _confirmed(runs: Sequence[bool]) -> bool:
    return len(runs) > 1 and _lead(runs) != 0


def ends(history: History) -> tuple[int | None, int | None]:
    """Return the highest place that mostly held, and the lowest above it that mostly did not."""
    low = max((place for place, runs in history.items() if _lead(runs) > 0), default=None)
    high = min(
        (
            place
            for place, runs in history.items()
            if _lead(runs) < 0 and (low is None or place > low)
        ),
        default=None,
    )
    return low, high


def next_place(history: History, start: int) -> int | None:
    """Return where on the grid to run next, or None when the bracket is narrow and confirmed."""
    if not history:
        return start
    low, high = ends(history)
    stride = 1 << min(len(history), 5)
    if low is None and high is None:
        return start  # the only runs so far contradict each other
    if high is None:
        return max(history) + stride
    if low is None:
        return min(history) - stride if _confirmed(history[high]) else high
    if high - low > _STEPS_WIDE:
        return (low + high) // 2
    if not _confirmed(history[low]):
        return low
    return None if _confirmed(history[high]) else high


def judged_step(result: LoadResult, saturated: bool = False) -> Step:
    """Return a finished run with its verdict: whether the service level held."""
    p95 = result.histogram.percentile(0.95, result.failed)
    holds = (
        p95 is not None
        and p95 <= SLO_NS
        and result.failed <= SLO_ERRORS * result.sent
        and not result.growing
        and not result.abandoned
    )
    return Step(
        rate=result.plan.rate,
        achieved=result.achieved,
        p95_ns=p95,
        sent=result.sent,
        failed=result.failed,
        growth=result.growth,
        seconds=result.seconds,
        abandoned=result.abandoned,
        holds=holds,
        saturated=saturated and not holds,
    )


class _Search:
    """The runs made so far, and how to make another."""

    def __init__(self, anchor: float, seed: int, step_s: float) -> None:
        self._anchor = anchor
        self._seed = seed
        self._step_s = step_s
        self.history: dict[int, list[bool]] = {}
        self.steps: list[tuple[int, Step]] = []
        self.self_tests: list[SelfTest] = []
        self.fell_back = False

    def rate(self, place: int) -> float:
        return float(self._anchor * WIDTH ** (place / _STEPS_WIDE))

    def place(self, rate: float) -> int:
        return math.floor(_STEPS_WIDE * math.log(rate / self._anchor, WIDTH))

    def seconds(self, place: int) -> float:
        """Return how long a run takes: long enough for its P95 to be carried."""
        return max(self._step_s, CARRIED_FROM[0.95] / self.rate(place))

    async def _generator_keeps_up(self, rate: float, clock: Clock) -> bool:
        """Test the generator, unless a test at this rate or above it has told already."""
        for test in self.self_tests:
            if test.ok == (test.rate >= 2 * rate):
                return test.ok
        self.self_tests.append(await self_test(rate, clock, seconds=1.0, seed=self._seed))
        return self.self_tests[-1].ok

    async def run(
        self, service: Service[T], requests: Sequence[T], place: int, clock: Clock
    ) -> Step:
        rate, seed = self.rate(place), self._seed + len(self.steps) + 1
        plan = LoadPlan(rate, self.seconds(place), segments=2, seed=seed)
        limit = Limit(SLO_NS, int(0.05 * plan.requests))
        result = await run_load(service, requests, plan, clock, limit=limit)
        step = judged_step(result, saturated=False)
        if not step.holds and not await self._generator_keeps_up(rate, clock):
            step = judged_step(result, saturated=True)
        self.fell_back |= bool(result.obstacles())
        self.history.setdefault(place, []).append(step.holds)
        self.steps.append((place, step))
        return step

    def result(self, guess: float, finished: bool) -> CapacityResult:
        """Return what is confirmed, which may be less than what was found."""
        held, lost = (
            {p for p, runs in self.history.items() if _confirmed(runs) and sign * _lead(runs) > 0}
            for sign in (1, -1)
        )
        low = max(held, default=None)
        saturated = {place for place, step in self.steps if step.saturated}
        above = {place for place in lost if low is None or place > low}
        high = min(above - saturated, default=None)
        reason = "" if finished else OUT_OF_TIME
        if above & saturated and high is None:
            reason = SATURATED
        if self.fell_back:
            reason = FELL_BACK
        return CapacityResult(
            low=None if low is None else self.rate(low),
            high=None if high is None else self.rate(high),
            n=sum(step.sent for place, step in self.steps if place in (low, high)),
            reason=reason,
            guess=guess,
            steps=tuple(step for _, step in self.steps),
            self_tests=tuple(self.self_tests),
        )


async def find_capacity(
    service: Service[T],
    requests: Sequence[T],
    clock: Clock,
    *,
    anchor: float = 50.0,
    seed: int = 0,
    budget_s: float = 60.0,
    step_s: float = 3.0,
    on_step: Callable[[Step], None] = lambda _: None,
) -> CapacityResult:
    """Search the highest rate with P95 <= 100 ms, errors <= 1 % and no growing backlog.

    The grid goes through `anchor` (the target's rate), where the search starts if the guess is
    below it. A run lasts `step_s`, or as long as 1,000 requests take, and is stopped once lost; no
    run is begun that might not end within `budget_s`.
    """
    end = clock.now_ns() + int(budget_s * NS_PER_S)
    guess = await closed_loop_rate(service, requests, clock, seconds=min(1.0, budget_s / 10))
    search = _Search(anchor, seed, step_s)
    start = search.place(max(0.9 * guess, anchor))
    while (place := next_place(search.history, start)) is not None:
        if clock.now_ns() + search.seconds(place) * NS_PER_S + _REST_NS > end:
            break
        on_step(await search.run(service, requests, place, clock))
        await clock.sleep_until(clock.now_ns() + _REST_NS)
    return search.result(guess, finished=place is None)
