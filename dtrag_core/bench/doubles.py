"""Doubles: seeded stand-ins for a service, whose latencies are known, to prove the harness with."""

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import repeat
from typing import Generic

import numpy as np
from scipy.signal import lfilter

from dtrag_core.bench.clock import Clock, Service, T

_CHUNK = 4_096


def lognormal_ns(median_ns: float, sigma: float, seed: int, rho: float = 0.0) -> Iterator[int]:
    """Yield log-normal delays, ns, for ever; `sigma` is of the natural logarithm.

    `rho` is the correlation of each logarithm with the one before (a stationary AR(1) process).
    """
    rng = np.random.default_rng(seed)
    last = rng.standard_normal()
    while True:
        noise = rng.standard_normal(_CHUNK)
        if rho:
            noise, _ = lfilter([np.sqrt(1 - rho * rho)], [1, -rho], noise, zi=[rho * last])
            last = noise[-1]
        yield from np.rint(median_ns * np.exp(sigma * noise)).astype(np.int64).tolist()


class Busy:
    """Answers by computing: holds the thread for the next delay."""

    def __init__(self, clock: Clock, delays_ns: Iterator[int]) -> None:
        self._block = clock.block
        self._next = delays_ns.__next__

    async def __call__(self, request: object) -> None:
        """Answer one request."""
        self._block(self._next())


class Waiting:
    """Answers after the next delay, any number of requests at a time."""

    def __init__(self, clock: Clock, delays_ns: Iterator[int]) -> None:
        self._clock = clock
        self._next = delays_ns.__next__

    async def __call__(self, request: object) -> None:
        """Answer one request."""
        await self._clock.sleep_until(self._clock.now_ns() + self._next())


class Queueing:
    """Answers one request at a time, in order, each taking the next delay of service."""

    def __init__(self, clock: Clock, delays_ns: Iterator[int]) -> None:
        self._clock = clock
        self._next = delays_ns.__next__
        self._turn = asyncio.Lock()

    async def __call__(self, request: object) -> None:
        """Answer one request; one that is cancelled leaves the queue."""
        async with self._turn:
            await self._clock.sleep_until(self._clock.now_ns() + self._next())


class Stalling:
    """Answers at once, but for the first `stall_ns` of every `every_ns`: then when that is over.

    The first stall begins with the first request.
    """

    def __init__(self, clock: Clock, stall_ns: int, every_ns: int) -> None:
        self._clock = clock
        self._stall_ns = stall_ns
        self._every_ns = every_ns
        self._start: int | None = None

    async def __call__(self, request: object) -> None:
        """Answer one request."""
        now = self._clock.now_ns()
        if self._start is None:
            self._start = now
        phase = (now - self._start) % self._every_ns
        if phase < self._stall_ns:
            await self._clock.sleep_until(now + self._stall_ns - phase)


class Failing(Generic[T]):
    """Raises `ConnectionError` with probability `p`, else passes the request on."""

    def __init__(self, service: Service[T], p: float, seed: int) -> None:
        self._service = service
        self._p = p
        self._rng = np.random.default_rng(seed)

    async def __call__(self, request: T) -> None:
        """Answer one request, or fail."""
        if self._rng.random() < self._p:
            raise ConnectionError("this double fails on purpose")
        await self._service(request)


class Recording(Generic[T]):
    """Passes requests on and keeps how long each really took, by the same clock: `taken_ns`."""

    def __init__(self, service: Service[T], clock: Clock) -> None:
        self._service = service
        self._now = clock.now_ns
        self.taken_ns: deque[int] = deque()

    async def __call__(self, request: T) -> None:
        """Answer one request."""
        start = self._now()
        await self._service(request)
        self.taken_ns.append(self._now() - start)


def at_once(clock: Clock) -> Waiting:
    """Return the double that does nothing: what is left is the harness."""
    return Waiting(clock, repeat(0))
