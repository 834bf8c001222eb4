"""A small HTTP/1.1 client for load: kept connections, requests that are bytes already.

It measures nothing itself, follows no redirects and keeps no cookies: what it costs is a write, a
parse and a wake-up, so that one core sends thousands of requests a second. Not pipelined: one
request at a time on a connection.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Self, cast
from urllib.parse import urlsplit

import httptools

from dtrag_core.errors import MeasuringError, UsageError

_IDLE_S: Final = 2.0
"""Servers close idle connections (uvicorn after 5 s): one idle for longer is not trusted."""


class Response(NamedTuple):
    """What came back: status and body."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens; `prefix` is the path before its routes, without a slash behind."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def of(cls, url: str) -> Self:
        """Read `http://host:port/prefix`. Raises UsageError for anything else."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise UsageError(f"{url!r} is no address: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise UsageError(f"{url!r} is no address; give one like http://127.0.0.1:8090")
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Return a whole request as bytes; a body is JSON."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"{method} {self.prefix}{path} HTTP/1.1", f"Host: {host}:{self.port}"]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise UsageError("a header or path of a request must not hold a line break")
        return "\r\n".join((*lines, "", "")).encode("latin-1") + body


class _Connection(asyncio.Protocol):
    """One kept connection, with at most one request under way."""

    def __init__(self, client: "HttpClient") -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Response] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self.idle_since = 0.0

    def send(self, request: bytes) -> "asyncio.Future[Response]":
        """Write a request; the future is its response."""
        if self._transport is None:
            raise ConnectionResetError("the service closed the connection")
        self._waiting = self._client.loop.create_future()
        self._transport.write(request)
        return self._waiting

    def abort(self) -> None:
        """Close at once, so that the server sees a client that left."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"no HTTP response: {error}"))
            self.abort()

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        waiting, self._waiting = self._waiting, None
        response = Response(self._parser.get_status_code(), b"".join(self._body))
        keep = self._parser.should_keep_alive() and waiting is not None
        if waiting is not None and not waiting.done():
            waiting.set_result(response)
        if keep:
            self._client.keep(self)
        else:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client.forget(self)
        self._fail(ConnectionResetError("the service closed the connection before it answered"))

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)


class HttpClient:
    """Kept connections to one address, as many as there are requests under way.

    The connection that was used last is used next. Use it as an asynchronous context, on the loop
    that sends.
    """

    def __init__(self, address: Address, timeout_s: float = 5.0) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in tuple(self._all):
            connection.abort()
        await asyncio.sleep(0)

    async def warm(self, connections: int) -> None:
        """Open connections beforehand. Raises MeasuringError if nothing listens."""
        try:
            opened = [await self._open() for _ in range(connections)]
        except OSError as error:
            where = f"{self.address.host}:{self.address.port}"
            raise MeasuringError(f"nothing answers at {where}: {error}; is it running?") from error
        for connection in opened:
            self.keep(connection)

    async def send(self, request: bytes) -> Response:
        """Send a request and return its response.

        Raises ConnectionError if the connection breaks, OSError if none can be made, TimeoutError
        after `timeout_s`; then, and if it is cancelled, the connection is closed.
        """
        connection = self._kept() or await self._open()
        answer = connection.send(request)
        timer = self.loop.call_later(self.timeout_s, self._give_up, connection, answer)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            timer.cancel()

    def keep(self, connection: _Connection) -> None:
        """Take a connection back, to be used again."""
        connection.idle_since = self.loop.time()
        self._idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        """Drop a connection that is closed."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _kept(self) -> _Connection | None:
        if not self._idle:
            return None
        if self.loop.time() - self._idle[-1].idle_since <= _IDLE_S:
            return self._idle.pop()
        stale, self._idle = self._idle, []
        for connection in stale:
            connection.abort()
        return None

    async def _open(self) -> _Connection:
        async with asyncio.timeout(self.timeout_s):
            _, connection = await self.loop.create_connection(
                lambda: _Connection(self), self.address.host, self.address.port, ssl=self._tls
            )
        self._all.add(connection)
        return connection

    @staticmethod
    def _give_up(connection: _Connection, answer: "asyncio.Future[Response]") -> None:
        if not answer.done():
            answer.set_exception(TimeoutError("no answer in time"))
            connection.abort()
