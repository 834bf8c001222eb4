"""Reading a request's body: at once if it is there, else for so long and no longer."""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.types import Message, Receive

from dtrag_core.api.disconnect import poll
from dtrag_core.api.problems import Problem, RequestError
from dtrag_core.api.settings import BodyLimits
from dtrag_core.errors import QueueFullError

_CLOSE: Final = ((b"connection", b"close"),)


class ClientLeftError(Exception):
    """The client closed the connection before it was answered."""


class BodyReader:
    """Reads bodies within limits; only those that are not there yet cost a timer, and count."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self.waiting = 0

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive, most: int) -> bytes:
        """Return the whole body.

        Raises RequestError (408 too slow, 413 more than `most` bytes), QueueFullError if too many
        bodies are waited for, ClientLeftError.
        """
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > most:
            raise _too_large(most)
        message = poll(receive)
        if message is not None and not message.get("more_body") and "body" in message:
            return _limited(message["body"], most)
        if self.waiting >= self._limits.waiting:
            raise QueueFullError(f"{self.waiting} unfinished bodies are waited for", 1.0)
        self.waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await _rest(message, receive, most)
        except TimeoutError:
            detail = f"the body was not there within {self._limits.seconds:g} s"
            raise RequestError(Problem(408, "slow-body", detail, headers=_CLOSE)) from None
        finally:
            self.waiting -= 1


async def _rest(message: Message | None, receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        if message is None:
            message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        body += message.get("body", b"")
        _limited(body, most)
        if not message.get("more_body"):
            return bytes(body)
        message = None


def _limited(body: bytes | bytearray, most: int) -> bytes:
    if len(body) > most:
        raise _too_large(most)
    return body  # type: ignore[return-value]


def _too_large(most: int) -> RequestError:
    detail = f"the body may have at most {most:,} bytes; send it in parts"
    return RequestError(Problem(413, "body-too-large", detail, headers=_CLOSE))


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out a body that was read, and then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
