"""`dtrag selfcheck`: the harness measures doubles in real time and must find what is known.

The same logic on virtual time, a thousand times over, is `run_trials`.
"""

import asyncio
import time
from typing import Final

from dtrag_core.bench.claims import Claim, SelfcheckReport
from dtrag_core.bench.clock import NS_PER_MS, NS_PER_S, Clock, RealClock, precise_loop
from dtrag_core.bench.doubles import Busy, Recording, Stalling, Waiting, lognormal_ns
from dtrag_core.bench.gates import Verdict, gate_percentile
from dtrag_core.bench.generator import LATE_NS, self_test
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.rounds import ratio, run_rounds
from dtrag_core.bench.trials import (
    QUERIES,
    ROUNDS,
    SIGMA,
    SLOWER,
    median_for_p95,
    no_progress,
    order_statistic,
    run_trials,
    stall_claims,
    stall_plan,
)
from dtrag_core.targets import PERFORMANCE_TARGETS
from dtrag_core.types import Progress

__all__ = ["Claim", "SelfcheckReport", "run_selfcheck", "run_trials"]

_LOAD_S: Final = 20
_ROUNDS_S: Final = 44
_TOTAL_S: Final = 120 + 2 + 2 * _LOAD_S + _ROUNDS_S


async def _rounds(clock: Clock) -> list[Claim]:
    """Compare a double with its equal and with one 20 % slower, 4 ms a query."""
    doubles = {
        arm: Recording(Busy(clock, lognormal_ns(slower * 4 * NS_PER_MS, SIGMA, seed)), clock)
        for arm, slower, seed in (("one", 1.0, 1), ("equal", 1.0, 2), ("slower", SLOWER, 3))
    }
    result = await run_rounds(doubles, [range(QUERIES)] * ROUNDS, clock)
    error = max(
        abs((result.histogram(arm).shown(0.95) or 0) / order_statistic(double.taken_ns, 0.95) - 1)
        for arm, double in doubles.items()
    )
    equal, slower = ratio([result], "equal", "one"), ratio([result], "slower", "one")
    return [
        Claim("largest error of a reported P95", error, 0.002, "at_most"),
        Claim("two equal doubles: lower end of their ratio", equal.low, 1.0, "at_most"),
        Claim("two equal doubles: upper end of their ratio", equal.high, 1.0, "at_least"),
        Claim("a double 20 % slower: lower end of the ratio", slower.low, 1.0, "at_least"),
    ]


async def _judged(clock: Clock, share: float) -> float:
    """Return 1 if a true P95 of `share` times the target is judged PASS, else 0."""
    target = PERFORMANCE_TARGETS["p95_latency_ms"]
    median = median_for_p95(share * target.bound * NS_PER_MS)
    double = Waiting(clock, lognormal_ns(median, SIGMA, seed=4))
    plan = LoadPlan(rate=100, seconds=_LOAD_S, seed=5)
    result = await run_load(double, [None], plan, clock)
    judged = gate_percentile(target, 0.95, result.exceedances(), NS_PER_MS)
    return float(judged.verdict is Verdict.PASS)


async def check(clock: Clock, progress: Progress) -> list[Claim]:
    """Measure every double by this clock, the running loop's, and return what was found."""
    start, what = clock.now_ns(), ""

    async def tick() -> None:
        while True:
            progress(what, min((clock.now_ns() - start) // NS_PER_S, _TOTAL_S), _TOTAL_S)
            await clock.sleep_until(clock.now_ns() + NS_PER_S)

    ticking = asyncio.create_task(tick())
    try:
        what = "generator"
        generator = await self_test(stall_plan().rate, clock)
        lines = [
            Claim(
                "generator alone at twice the rate: P90 of lateness, ms",
                generator.lag_p90_ns / NS_PER_MS,
                LATE_NS / NS_PER_MS,
                "at_most",
            )
        ]
        what = "doubles against each other"
        lines += await _rounds(clock)
        what = "verdicts"
        for words, share, bound in (("at half", 0.5, 1.0), ("10 % above", 1.1, 0.0)):
            measured = await _judged(clock, share)
            lines.append(
                Claim(
                    f"a true P95 {words} the target is PASS (1 yes, 0 no)",
                    measured,
                    bound,
                    "at_least" if share < 1 else "at_most",
                )
            )
        what = "stalling double, 120 s"
        double = Stalling(clock, NS_PER_S // 2, 2 * NS_PER_S)
        lines += stall_claims(await run_load(double, [None], stall_plan(), clock))
    finally:
        ticking.cancel()
    progress(what, _TOTAL_S, _TOTAL_S)
    return lines


def run_selfcheck(progress: Progress = no_progress) -> SelfcheckReport:
    """Measure doubles in real time, about three and a half minutes, and return what was found.

    `progress` is told the seconds passed, of how many, and what is being measured, every second.
    Must not be called from within a running event loop.
    """
    start = time.perf_counter()
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        lines = runner.run(check(RealClock(), progress))
    return SelfcheckReport(tuple(lines), time.perf_counter() - start)
