"""Watches what a service holds while it is under load: memory, descriptors, processor time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from dtrag_core.bench.clock import NS_PER_S, Clock
from dtrag_core.bench.service_process import Usage

Measure = Callable[[], Usage]

EVERY_S: Final = 0.5


class UsageWatch:
    """Reads `measure` every so often on the running loop; use it as an asynchronous context.

    A reading takes well under a millisecond. `times_s`, from the start of the block, and `usages`
    are parallel. What `measure` raises is raised at the end of the block.
    """

    def __init__(self, measure: Measure, clock: Clock, every_s: float = EVERY_S) -> None:
        self._measure = measure
        self._clock = clock
        self._every_ns = int(every_s * NS_PER_S)
        self.times_s: list[float] = []
        self.usages: list[Usage] = []

    async def __aenter__(self) -> Self:
        self._start = self._clock.now_ns()
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _watch(self) -> None:
        due = self._start
        while True:
            self.times_s.append((self._clock.now_ns() - self._start) / NS_PER_S)
            self.usages.append(self._measure())
            due = max(due + self._every_ns, self._clock.now_ns())
            await self._clock.sleep_until(due)

    def between(self, begin_s: float, end_s: float) -> tuple[list[float], list[Usage]]:
        """Return the readings of a stretch of time: when, and what."""
        chosen = [
            (at, usage)
            for at, usage in zip(self.times_s, self.usages, strict=True)
            if begin_s <= at <= end_s
        ]
        return [at for at, _ in chosen], [usage for _, usage in chosen]

    def to_json(self) -> dict[str, Any]:
        """Return the readings as parallel lists."""
        return {
            "seconds": self.times_s,
            "resident_bytes": [usage.resident for usage in self.usages],
            "anonymous_bytes": [usage.anonymous for usage in self.usages],
            "descriptors": [usage.descriptors for usage in self.usages],
            "cpu_s": [usage.cpu_s for usage in self.usages],
        }
