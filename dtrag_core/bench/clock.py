"""Time as the runners see it: a clock, an event loop with fine timers, garbage held still.

Everything that measures takes a `Clock`, so that the code that times a real engine is the very code
that the seeded trials drive on virtual time (`dtrag_core.bench.virtual`).
"""

import asyncio
import gc
import select
import selectors
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, Self, TypeAlias, TypeVar

T = TypeVar("T")
Service: TypeAlias = Callable[[T], Awaitable[None]]
"""What is measured: answers one request, or raises."""

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

_QUIET: ContextVar[bool] = ContextVar("quiet_gc", default=False)


class Clock(Protocol):
    """Monotonic nanoseconds, and the ways to let them pass."""

    def now_ns(self) -> int:
        """Return the time, ns; only differences mean something."""
        ...

    def cpu_ns(self) -> int:
        """Return the time this process spent computing, ns, over all its threads."""
        ...

    def block(self, ns: int) -> None:
        """Hold the calling thread for `ns`, as a busy server would."""
        ...

    async def sleep_until(self, ns: int) -> None:
        """Give way to other tasks until `now_ns() >= ns`; at once if that is past."""
        ...


class RealClock:
    """`time.perf_counter_ns`; timers are as fine as the running loop's, see `precise_loop`."""

    now_ns = staticmethod(time.perf_counter_ns)
    cpu_ns = staticmethod(time.process_time_ns)

    def block(self, ns: int) -> None:
        """Sleep in the calling thread."""
        time.sleep(ns / NS_PER_S)

    async def sleep_until(self, ns: int) -> None:
        """Sleep on the running loop."""
        while (left := ns - time.perf_counter_ns()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left / NS_PER_S)


def precise_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop whose timers are microseconds fine: `asyncio.Runner(loop_factory=...)`.

    The default loop on Linux waits with epoll, which rounds up to whole milliseconds; select does
    not.
    """
    return asyncio.SelectorEventLoop(_fine_selector())


# gevent takes epoll out of the processes it patches.
if sys.platform == "linux" and hasattr(selectors, "EpollSelector"):

    class _FineEpoll(selectors.EpollSelector):
        """Waits for epoll itself with select: any number of sockets, and fine time-outs."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is None or timeout <= 0:
                return super().select(timeout)
            select.select([self.fileno()], [], [], timeout)
            return super().select(0)

    _fine_selector: type[selectors.BaseSelector] = _FineEpoll
else:
    _fine_selector = selectors.SelectSelector


@contextmanager
def quiet_gc() -> Iterator[None]:
    """Collect garbage and freeze the survivors, so that no collection walks them while timing.

    May be nested: the outermost one thaws.
    """
    nested = _QUIET.set(True)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        _QUIET.reset(nested)
        if not _QUIET.get():
            gc.unfreeze()


class StallWatch:
    """Notices when the host did not run this process: a thread that wakes every 20 ms.

    A wake more than `late_ns` late is a stall, unless the process was computing meanwhile (then it
    is the measured code that kept the interpreter). After the block, `stalls_ns` holds the length
    of each, ns.
    """

    PERIOD_NS = 20 * NS_PER_MS

    def __init__(self, late_ns: int = 25 * NS_PER_MS) -> None:
        self._late_ns = late_ns
        self._stalls: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)

    @property
    def stalls_ns(self) -> tuple[int, ...]:
        """The length of each stall so far, ns."""
        return tuple(self._stalls)

    def _watch(self) -> None:
        while True:
            start, cpu = time.perf_counter_ns(), time.process_time_ns()
            if self._stop.wait(self.PERIOD_NS / NS_PER_S):
                return
            late = time.perf_counter_ns() - start - self.PERIOD_NS
            if late > self._late_ns and time.process_time_ns() - cpu < late / 2:
                self._stalls.append(late)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
