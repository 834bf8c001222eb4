"""Ends requests nobody waits for any more: the client left, or the time of the request is up."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Literal

from starlette.types import Message, Receive

LOOK_EVERY_S: Final = 0.01
_ASK_AFTER: Final = 5  # times as long: most requests are over by then

Ending = Literal["left", "late"]


def poll(receive: Receive) -> Message | None:
    """Return the next message if it is there; None if one would have to wait for it.

    The coroutine is stepped once by hand: no task, no timer. One that has to wait is closed, which
    takes it off the list of whoever would have woken it.
    """
    waiting = receive()
    step: Callable[[None], object] = getattr(waiting, "send")  # noqa: B009 (an Awaitable by type)
    try:
        step(None)
    except StopIteration as done:
        message: Message = done.value
        return message
    getattr(waiting, "close")()  # noqa: B009
    return None


class Watched:
    """One request that runs: its task is cancelled when `ending` is set."""

    __slots__ = ("ask_at", "deadline", "ending", "receive", "task")

    def __init__(self, receive: Receive, ask_at: float, deadline: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("requests run in tasks")
        self.task = task
        self.receive = receive
        self.ask_at = ask_at
        self.deadline = deadline
        self.ending: Ending | None = None

    def ended(self) -> Ending | None:
        """Return why the task was cancelled, and take the cancellation back; None if not by us."""
        if self.ending is not None:
            self.task.uncancel()
        return self.ending


class Watch:
    """Looks after all requests of a process with one timer, which runs while there are any.

    It looks every `every_s` for deadlines, and asks whether a client has left when its request has
    run five times as long, and again after as long: asking takes a good part of what a request
    does. Those that are over by then cost two entries in a dict. `clock` is monotonic, in seconds,
    as deadlines are.
    """

    def __init__(
        self, every_s: float = LOOK_EVERY_S, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every_s, self._ask_every_s = every_s, _ASK_AFTER * every_s
        self._clock = clock
        self._watched: dict[Watched, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._watched)

    def enter(self, receive: Receive, deadline: float) -> Watched:
        """Watch the current task until it leaves."""
        watched = Watched(receive, self._clock() + self._ask_every_s, deadline)
        self._watched[watched] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._every_s, self._tick, loop)
        return watched

    def leave(self, watched: Watched) -> None:
        """Watch it no longer."""
        self._watched.pop(watched, None)

    def look(self) -> None:
        """End what nobody waits for."""
        now = self._clock()
        for watched in tuple(self._watched):
            if now >= watched.deadline:
                self._end(watched, "late")
            elif now >= watched.ask_at:
                watched.ask_at = now + self._ask_every_s
                if _has_left(watched.receive):
                    self._end(watched, "left")

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self.look()
        if self._watched:
            self._timer = loop.call_later(self._every_s, self._tick, loop)

    def _end(self, watched: Watched, ending: Ending) -> None:
        self.leave(watched)
        watched.ending = ending
        watched.task.cancel()


def _has_left(receive: Receive) -> bool:
    message = poll(receive)
    return message is not None and message["type"] == "http.disconnect"
