"""Threads pinned one to a core, which help the calling thread from the cores it does not run on."""

import ctypes
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

_MOST: Final = 8
"""Cores of one process by default; beyond, the parts of a search are too short to share out."""

Work = Callable[[], None]


class CoreThreads:
    """Helpers for the calling thread, which takes part in the work itself.

    There is one thread for each of the `cores` (by default those the process may run on, at most
    eight). Where the platform has it, each is pinned to one core and work goes to those whose core
    the caller does not occupy: woken freely, a thread often starts on the caller's own core and
    waits there while another idles. Libraries that start threads from inside the work would leave
    them on that core, so work is expected to compute on its own thread.

    A thread takes work from a queue of its own: of queue, lock, pipe and event, the cheapest way
    to wake one (17 us on the development machine).
    """

    def __init__(self, cores: int | None = None) -> None:
        allowed = allowed_cores()
        self.count = cores or min(len(allowed), _MOST)
        self._here = _core_finder()
        self._helpers: list[_Helper] = []
        if self.count > 1:
            self._helpers = [_Helper(allowed[n % len(allowed)]) for n in range(self.count)]

    def share(self, work: Work, helpers: int) -> None:
        """Have up to `helpers` other threads call `work` as well; returns at once.

        A helper may come late or, once closed, never: `work` takes what is there to be done.
        """
        here = self._here()
        elsewhere_first = sorted(self._helpers, key=lambda helper: helper.core == here)
        for helper in elsewhere_first[: min(helpers, self.count - 1)]:
            helper.queue.put(work)

    def measure_hop_ns(self, repeats: int = 32) -> float:
        """Return the median time from sharing work until a helper's answer is back, ns."""
        if not self._helpers:
            return 0.0
        answers: SimpleQueue[None] = SimpleQueue()

        def answer() -> None:
            answers.put(None)

        taken = []
        for _ in range(repeats):
            started = time.perf_counter_ns()
            self.share(answer, 1)
            answers.get()
            taken.append(time.perf_counter_ns() - started)
        return statistics.median(taken)

    def close(self) -> None:
        """Stop the threads once their work is done; may be called again."""
        helpers, self._helpers = self._helpers, []
        for helper in helpers:
            helper.queue.put(None)
        for helper in helpers:
            helper.thread.join()


class _Helper:
    """A thread on a core, and the queue it takes work from."""

    def __init__(self, core: int) -> None:
        self.core = core
        self.queue: SimpleQueue[Work | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=f"core-{core}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        _pin(self.core)
        while (work := self.queue.get()) is not None:
            work()
            del work  # an idle thread keeps nothing alive


def allowed_cores() -> list[int]:
    """Return the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _pin(core: int) -> None:
    """Keep the calling thread on one core; a container may forbid it, then it goes free."""
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, {core})


def _core_finder() -> Callable[[], int]:
    """Return a function that tells the core the calling thread runs on; -1 where none knows."""
    if sys.platform == "linux":
        found: Callable[[], int] | None = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
        if found is not None:
            return found
    return _nowhere


def _nowhere() -> int:
    return -1
