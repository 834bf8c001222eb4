"""How much of what overlapping can give the executor reaches, on doubles of known cost."""

import time
from statistics import median
from typing import Final

import numba
import numpy as np

from dtrag_core.bench.clock import NS_PER_MS, Clock, RealClock, quiet_gc
from dtrag_core.bench.statistics import Interval, ratio_interval
from dtrag_core.errors import InvalidRequestError, MeasuringError
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.optimization.legs import LegParams, LegsOutcome, run_in_turn
from dtrag_core.optimization.plans import plans_for
from dtrag_core.types import Candidates, FloatArray, Mask

__all__ = ["overlap_efficiency"]

_CALIBRATION: Final = 2_000_000
_WARM_UP: Final = 40
_NOTHING: Final = Candidates(np.zeros(0, np.int32), np.zeros(0, np.float32))


async def overlap_efficiency(
    bm25_ms: float,
    vector_ms: float,
    *,
    rounds: int = 30,
    searches: int = 5,
    clock: Clock | None = None,
) -> tuple[Interval, float]:
    """Return how many times faster the executor is than legs in turn, and the bound of that.

    The legs are doubles that compute `bm25_ms` and `vector_ms` without the interpreter's lock.
    Rounds are paired: each answers `searches` searches in turn and as many by the executor,
    alternately, and its ratio is that of the two medians. The bound is (b + v) / max(b, v).

    Raises MeasuringError if the executor did not overlap, as on one core.
    """
    if min(bm25_ms, vector_ms) <= 0 or rounds < 2 or searches < 1:
        raise InvalidRequestError(
            "doubles cost more than 0 ms, in at least 2 rounds of at least 1 search, got "
            f"{bm25_ms} and {vector_ms} ms, {rounds} rounds of {searches}"
        )
    legs = _SpinningLegs(bm25_ms, vector_ms)
    vector, params = np.zeros(1, np.float32), LegParams(1, 1)
    executor = AsyncExecutionOptimizer(plans=plans_for(overlap=True, shards=False))
    now = (clock or RealClock()).now_ns

    async def executed() -> LegsOutcome:
        return await executor.execute_parallel_search(legs, "", vector, params)

    async def in_turn() -> LegsOutcome:
        return await run_in_turn(legs, "", vector, params)

    try:
        for _ in range(_WARM_UP):
            await executed()
        ratios = []
        with quiet_gc():
            for number in range(rounds):
                arms = (in_turn, executed)
                taken: dict[str, list[int]] = {arm.__name__: [] for arm in arms}
                for _ in range(searches):
                    for arm in arms if number % 2 else arms[::-1]:
                        started = now()
                        await arm()
                        taken[arm.__name__].append(now() - started)
                ratios.append(np.log(median(taken["in_turn"]) / median(taken["executed"])))
        decision = executor.decision()
        if not decision.overlap:
            raise MeasuringError(f"the executor did not overlap: {decision.reason}")
    finally:
        executor.close()
    return ratio_interval([ratios]), (bm25_ms + vector_ms) / max(bm25_ms, vector_ms)


class _SpinningLegs:
    """Legs that find nothing and take the time asked for, on whatever core they run."""

    def __init__(self, bm25_ms: float, vector_ms: float) -> None:
        _spin(1)
        taken = []
        for _ in range(5):
            started = time.perf_counter_ns()
            _spin(_CALIBRATION)
            taken.append(time.perf_counter_ns() - started)
        steps_per_ms = _CALIBRATION / min(taken) * NS_PER_MS
        self._bm25_steps = round(bm25_ms * steps_per_ms)
        self._vector_steps = round(vector_ms * steps_per_ms)

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        _spin(self._bm25_steps)
        return _NOTHING

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        _spin(self._vector_steps)
        return _NOTHING


@numba.njit(cache=True, nogil=True)
def _spin(steps: int) -> float:
    """Compute `steps` dependent multiplications, which no compiler can leave out."""
    value = 0.5
    for _ in range(steps):
        value = 1.0 - value * value * 0.9
    return value
