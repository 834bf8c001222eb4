"""Paired rounds: the arms answer the same queries, in turns, inside one run.

A round is one batch of queries, answered one at a time by every arm. The order of the arms turns
from round to round (AB, BA), so that drift of the machine falls on all alike. An A/A pair is the
same service under two names. The loop is closed, one query at a time: these are latencies to
compare arms by, not those of a service under load (`dtrag_core.bench.load`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dtrag_core.bench.clock import Clock, Service, T, quiet_gc
from dtrag_core.bench.histogram import Histogram
from dtrag_core.bench.statistics import Interval, ratio_interval
from dtrag_core.errors import MeasuringError


@dataclass(frozen=True, slots=True, eq=False)
class RoundsResult:
    """What one process measured.

    `latencies`: of each arm int64[rounds, queries], ns, read-only. `kernel_ns`: the reference
    kernel's time in each round, int64[rounds]. `cold`: of each arm the latencies of the warm-up,
    int64[queries], ns, which count for nothing else.
    """

    latencies: Mapping[str, NDArray[np.int64]]
    kernel_ns: NDArray[np.int64]
    cold: Mapping[str, NDArray[np.int64]]

    @property
    def rounds(self) -> int:
        """How many rounds there were."""
        return len(self.kernel_ns)

    def round_means(self, arm: str) -> NDArray[np.float64]:
        """Return the mean latency of an arm in each round, ns, float64[rounds]."""
        if arm not in self.latencies:
            raise MeasuringError(f"no arm {arm!r} was measured; known: {sorted(self.latencies)}")
        means: NDArray[np.float64] = self.latencies[arm].mean(axis=1, dtype=np.float64)
        return means

    def histogram(self, arm: str) -> Histogram:
        """Return the histogram of all latencies of an arm."""
        self.round_means(arm)
        return Histogram.of(self.latencies[arm])

    def to_json(self) -> dict[str, Any]:
        """Return everything: `latencies_ns` of each arm by round, `kernel_ns`, `cold_ns`."""
        return {
            "latencies_ns": {arm: ns.tolist() for arm, ns in self.latencies.items()},
            "kernel_ns": self.kernel_ns.tolist(),
            "cold_ns": {arm: ns.tolist() for arm, ns in self.cold.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote. Raises `MeasuringError` if its parts do not fit."""
        latencies = {
            arm: _fixed(np.array(ns, dtype=np.int64)) for arm, ns in data["latencies_ns"].items()
        }
        kernel = _fixed(np.array(data["kernel_ns"], dtype=np.int64))
        shapes = {ns.shape for ns in latencies.values()}
        if len(shapes) != 1 or any(len(s) != 2 or s[0] != len(kernel) for s in shapes):
            raise MeasuringError(
                f"arms of one run have one shape, and a kernel time a round: {sorted(shapes)} "
                f"against {len(kernel)}"
            )
        cold = {arm: _fixed(np.array(ns, dtype=np.int64)) for arm, ns in data["cold_ns"].items()}
        return cls(latencies, kernel, cold)


def _fixed(array: NDArray[np.int64]) -> NDArray[np.int64]:
    array.setflags(write=False)
    return array


def ratio(results: Sequence[RoundsResult], numerator: str, denominator: str) -> Interval:
    """Return the numerator's mean latency over the denominator's, above 1 if it is slower.

    Geometric mean over the rounds of all results (one per process), see `ratio_interval`.
    """
    return ratio_interval(
        [np.log(one.round_means(numerator) / one.round_means(denominator)) for one in results]
    )


def turn(arms: Sequence[str], round_: int) -> list[str]:
    """Return the order of the arms in a round: rotated every second, reversed in every other."""
    shift = round_ // 2 % len(arms)
    order = [*arms[shift:], *arms[:shift]]
    return order[::-1] if round_ % 2 else order


def reference_kernel() -> Callable[[], None]:
    """Return a fixed piece of work, some milliseconds: a float32 matrix product and a Python loop.

    Timed in every round, it tells how fast the machine was, so that runs can be compared.
    """
    matrix = np.random.default_rng(0).standard_normal((4_000, 256), dtype=np.float32)
    vector = matrix[0].copy()

    def work() -> None:
        for _ in range(5):
            matrix @ vector
        total = 0
        for number in range(50_000):
            total += number & 7

    return work


async def _time_batch(arm: str, service: Service[T], batch: Sequence[T], clock: Clock) -> list[int]:
    """Return the latency of each query, ns; any error ends the run."""
    now, taken = clock.now_ns, []
    for query in batch:
        start = now()
        try:
            await service(query)
        except Exception as error:
            raise MeasuringError(
                f"arm {arm!r} failed on query {query!r}: {type(error).__name__}: {error}; no "
                "ratio is made from a run with a failed query: mend the arm or leave it out"
            ) from error
        taken.append(now() - start)
    return taken


async def run_rounds(
    arms: Mapping[str, Service[T]],
    batches: Sequence[Sequence[T]],
    clock: Clock,
    *,
    warmup: Sequence[T] = (),
    kernel: Callable[[], None] = lambda: None,
    on_round: Callable[[int], None] = lambda _: None,
) -> RoundsResult:
    """Measure the arms against each other, a round per batch; batches are equally long.

    `warmup` queries are answered by every arm first; how long they took is kept apart. `kernel` is
    timed once in every round, `on_round` told each finished round's number, untimed. A service must
    raise rather than answer degraded. Raises `MeasuringError` naming arm, query and error if any
    query fails.
    """
    sizes = {len(batch) for batch in batches}
    if not arms or len(sizes) != 1 or 0 in sizes:
        raise MeasuringError(
            f"rounds need arms and equally long batches: {len(arms)} arms, sizes {sorted(sizes)}"
        )
    taken: dict[str, list[list[int]]] = {arm: [] for arm in arms}
    kernel_ns = []
    cold = {arm: await _time_batch(arm, service, warmup, clock) for arm, service in arms.items()}
    with quiet_gc():
        for number, batch in enumerate(batches):
            with quiet_gc():
                start = clock.now_ns()
                kernel()
                kernel_ns.append(clock.now_ns() - start)
                for arm in turn(list(arms), number):
                    taken[arm].append(await _time_batch(arm, arms[arm], batch, clock))
            on_round(number)
    return RoundsResult(
        {arm: _fixed(np.array(rows, dtype=np.int64)) for arm, rows in taken.items()},
        _fixed(np.array(kernel_ns, dtype=np.int64)),
        {arm: _fixed(np.array(rows, dtype=np.int64)) for arm, rows in cold.items()},
    )
