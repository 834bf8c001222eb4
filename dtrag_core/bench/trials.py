"""Seeded trials on virtual time: how often the harness is right, when the truth is known.

Every trial goes through the very rounds, load and gates of a real run; only time is virtual.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from statistics import fmean
from typing import Final

import numpy as np

from dtrag_core.bench.claims import Claim, SelfcheckReport
from dtrag_core.bench.clock import NS_PER_MS, NS_PER_S, quiet_gc
from dtrag_core.bench.doubles import Busy, Recording, Stalling, Waiting, lognormal_ns
from dtrag_core.bench.gates import Verdict, gate_percentile
from dtrag_core.bench.load import run_load
from dtrag_core.bench.load_plan import LoadPlan
from dtrag_core.bench.load_result import LoadResult
from dtrag_core.bench.rounds import RoundsResult, ratio, run_rounds
from dtrag_core.bench.virtual import VirtualClock, run_virtual
from dtrag_core.targets import PERFORMANCE_TARGETS, Direction
from dtrag_core.types import Progress

SIGMA: Final = 0.5
Z95: Final = 1.6448536269514722
ROUNDS: Final = 30
QUERIES: Final = 100
SLOWER: Final = 1.2
RHO: Final = 0.95
_BATCH: Final = 10
STALL_MS: Final = {0.95: 400.0, 0.99: 480.0}


def no_progress(stage: str, done: int, total: int | None) -> None:
    """Take no note."""


def median_for_p95(p95_ns: float) -> float:
    """Return the median of the log-normal delays whose true P95 is `p95_ns`."""
    return float(p95_ns / np.exp(Z95 * SIGMA))


def seeds(seed: int | Sequence[int], n: int) -> list[int]:
    """Return n seeds that have nothing to do with each other or with those of another seed."""
    return [int(each) for each in np.random.SeedSequence(seed).generate_state(n, np.uint64)]


def order_statistic(taken_ns: Sequence[int], q: float) -> int:
    """Return the value of rank ceil(q n), from the sorted values themselves."""
    return sorted(taken_ns)[int(np.ceil(q * len(taken_ns))) - 1]


def compare_doubles(seed: int, slower: float) -> RoundsResult:
    """Run one comparison of a double, `a`, with one `slower` times as slow, `b`."""

    async def trial(clock: VirtualClock) -> RoundsResult:
        one, other = seeds(seed, 2)
        arms = {
            "a": Busy(clock, lognormal_ns(NS_PER_MS, SIGMA, one)),
            "b": Busy(clock, lognormal_ns(slower * NS_PER_MS, SIGMA, other)),
        }
        return await run_rounds(arms, [range(QUERIES)] * ROUNDS, clock)

    return run_virtual(trial)


def called_different(seed: int) -> bool:
    """Return whether two equal doubles are called different."""
    return 1.0 not in ratio([compare_doubles(seed, 1.0)], "b", "a")


def found_slower(seed: int) -> bool:
    """Return whether a double 20 % slower is found to be slower."""
    return ratio([compare_doubles(seed, SLOWER)], "b", "a").low > 1


def passes(seed: int, share: float, rho: float) -> bool:
    """Return whether a true P95 of `share` times the target is judged PASS, from 6,000 arrivals."""
    target = PERFORMANCE_TARGETS["p95_latency_ms"]

    async def trial(clock: VirtualClock) -> LoadResult:
        median = median_for_p95(share * target.bound * NS_PER_MS)
        arrivals, delays = seeds(seed, 2)
        plan = LoadPlan(rate=50, seconds=120, seed=arrivals)
        return await run_load(
            Waiting(clock, lognormal_ns(median, SIGMA, delays, rho)), [None], plan, clock
        )

    result = run_virtual(trial)
    judged = gate_percentile(target, 0.95, result.exceedances(), NS_PER_MS)
    return judged.verdict is Verdict.PASS


def p95_error(seed: int) -> float:
    """Return the relative error of a reported P95 against the delays that were injected."""

    async def trial(clock: VirtualClock) -> float:
        double = Recording(Busy(clock, lognormal_ns(NS_PER_MS, SIGMA, seed)), clock)
        result = await run_rounds({"a": double}, [range(QUERIES)] * ROUNDS, clock)
        true = order_statistic(double.taken_ns, 0.95)
        return abs((result.histogram("a").percentile(0.95) or 0) / true - 1)

    return run_virtual(trial)


def stall_plan() -> LoadPlan:
    """Return the load the stalling double is put under: 100 even arrivals/s for 120 s."""
    return LoadPlan(rate=100, seconds=120, arrivals="constant")


def stall_claims(result: LoadResult) -> list[Claim]:
    """Return what the stall must show, against what it does."""
    return [
        Claim(
            f"a stall of 500 ms every 2 s: error of P{100 * q:.0f} against {true:.0f} ms",
            abs((result.histogram.shown(q, result.failed) or 0) / NS_PER_MS / true - 1),
            0.02,
            "at_most",
        )
        for q, true in STALL_MS.items()
    ]


def stalled() -> LoadResult:
    """Return what the stalling double shows on virtual time."""

    async def trial(clock: VirtualClock) -> LoadResult:
        double = Stalling(clock, NS_PER_S // 2, 2 * NS_PER_S)
        return await run_load(double, [None], stall_plan(), clock)

    return run_virtual(trial)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One claim and the trials that check it; `pooled` makes one figure of their outcomes."""

    claim: str
    trial: Callable[[int], float]
    n: int
    bound: float
    direction: Direction
    pooled: Callable[[Sequence[float]], float] = fmean


def _kinds(trials: int) -> list[_Kind]:
    quarter = max(trials // 4, 1)
    kinds = [
        _Kind("largest error of a reported P95", p95_error, quarter, 0.002, "at_most", max),
        _Kind("two equal doubles are called different", called_different, trials, 0.065, "at_most"),
        _Kind("a double 20 % slower is found", found_slower, trials, 0.95, "at_least"),
    ]
    for how, rho, n in (("autocorrelated", RHO, trials), ("independent", 0.0, quarter)):
        half = partial(passes, share=0.5, rho=rho)
        over = partial(passes, share=1.1, rho=rho)
        kinds += [
            _Kind(f"a true P95 at half the target is PASS, {how}", half, n, 0.95, "at_least"),
            _Kind(f"a true P95 10 % above the target is PASS, {how}", over, n, 0.05, "at_most"),
        ]
    return kinds


def _batch(trial: Callable[[int], float], batch: Sequence[int]) -> list[float]:
    with quiet_gc():
        return [float(trial(seed)) for seed in batch]


def run_trials(
    trials: int = 1_000,
    seed: int = 0,
    *,
    workers: int = 2,
    progress: Progress = no_progress,
) -> SelfcheckReport:
    """Run `trials` of every kind (a quarter as many of the easy ones) in `workers` processes.

    The processes are spawned: a script calls this under `if __name__ == "__main__"`.
    """
    start, kinds, done = time.perf_counter(), _kinds(trials), 0
    total = sum(kind.n for kind in kinds)
    lines = stall_claims(stalled())
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, kind in enumerate(kinds):
            each = seeds([seed, number], kind.n)
            batches = [each[at : at + _BATCH] for at in range(0, kind.n, _BATCH)]
            outcomes: list[float] = []
            for some in pool.map(partial(_batch, kind.trial), batches):
                outcomes += some
                done += len(some)
                progress(kind.claim, done, total)
            claim = f"{kind.claim} ({kind.n} trials)"
            lines.append(Claim(claim, kind.pooled(outcomes), kind.bound, kind.direction))
    return SelfcheckReport(tuple(lines), time.perf_counter() - start)
