"""Virtual time: an asyncio event loop that jumps to its next timer instead of waiting for it.

The loop is asyncio's own; only its selector is replaced. Where the real one would block for a
while, this one moves the clock on by that while. Two minutes of load run in a fraction of a second,
and the same every time.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from dtrag_core.bench.clock import NS_PER_S
from dtrag_core.errors import MeasuringError

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

R = TypeVar("R")


class VirtualClock:
    """A `Clock` that moves only when told to: by `block`, or by the loop having nothing to do."""

    def __init__(self) -> None:
        self._now = 0
        self._busy = 0

    def now_ns(self) -> int:
        """Return the virtual time, ns since the clock was made."""
        return self._now

    def cpu_ns(self) -> int:
        """Return how much of it was spent blocking, ns."""
        return self._busy

    def block(self, ns: int) -> None:
        """Move the time on, as computing for `ns` would."""
        self._now += ns
        self._busy += ns

    def skip(self, ns: int) -> None:
        """Move the time on, as waiting for `ns` would."""
        self._now += ns

    async def sleep_until(self, ns: int) -> None:
        """Sleep on the running virtual loop."""
        while (left := ns - self._now) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left / NS_PER_S)


class _SkippingSelector(selectors.BaseSelector):
    """A selector that never waits: it moves the clock on by the time it was asked to wait."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._keys: dict[FileDescriptorLike, selectors.SelectorKey] = {}

    def register(
        self, fileobj: "FileDescriptorLike", events: int, data: object = None
    ) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[fileobj] = selectors.SelectorKey(fileobj, fd, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: "FileDescriptorLike") -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise MeasuringError(
                "every task waits for something other than time; on virtual time nothing outside "
                "the loop (a thread, a socket) can be awaited: use a real clock"
            )
        if timeout > 0:
            self._clock.skip(int(timeout * NS_PER_S) + 1)
        return []

    def get_map(self) -> Mapping["FileDescriptorLike", selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a `VirtualClock`."""

    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_SkippingSelector(clock))

    def time(self) -> float:
        """Return the virtual time, s."""
        return self._virtual.now_ns() / NS_PER_S


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, R]]) -> R:
    """Run `main(clock)` to its end on virtual time and return what it returns."""
    clock = VirtualClock()
    result: list[R] = []

    async def kept() -> None:
        # Not returned: asyncio formats what its main task returned, thousands of latencies.
        result.append(await main(clock))

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(kept())
    return result[0]
