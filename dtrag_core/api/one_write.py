"""A transport that sends the head of an answer together with its body, or with the body's begin."""

from asyncio import AbstractEventLoop, Transport
from typing import Any, Final

_HEAD: Final = b"HTTP/1.1 "


class OneWrite:
    """Wraps a transport: a write that begins an answer is held until the next one, or a turn.

    uvicorn writes head and body apart: two calls of the system, two packets, and two wake-ups of
    the client for each answer.
    """

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Return what the transport has: all but writing and closing is the same."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes, after what was held."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.writelines((held, data))
        elif data[: len(_HEAD)] == _HEAD:
            self._held = data
            self._loop.call_soon(self.flush)  # if nothing follows soon
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is held."""
        held, self._held = self._held, b""
        if held:
            self._transport.write(held)
