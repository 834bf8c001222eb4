"""uvicorn's HTTP protocol, with bounds on what a connection may cost before it is a request."""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from typing import Any, Final

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HEADER_SECONDS: Final = 10.0
MOST_HEADER_BYTES: Final = 64 << 10
MOST_CONNECTIONS: Final = 4_096
MOST_PIPELINED: Final = 32

_TITLES: Final = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}  # fmt: skip  # noqa: E501


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections whose headers do not come in time, or are too large, and those too many.

    A request that is no HTTP is answered with a problem, as all others that cannot be answered.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._timer: TimerHandle | None = None
        self._in_headers = True
        self._header_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the headers of a first request."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503, "too many connections", b"retry-after: 1\r\n")
        else:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; what is still headers after them counts."""
        super().data_received(data)
        if not self._in_headers:
            return
        self._header_bytes += len(data)
        if self._header_bytes > MOST_HEADER_BYTES:
            self._refuse(431, f"headers may have at most {MOST_HEADER_BYTES:,} bytes")
        elif self._timer is None:
            self._wait_for_headers()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        """Answer the request, unless its sender asks too much at the same time."""
        self._in_headers = False
        self._stop_waiting()
        if len(self.pipeline) >= MOST_PIPELINED:
            self.transport.abort()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, msg)

    def _wait_for_headers(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self._refuse(408, f"the headers were not there within {HEADER_SECONDS:g} s")

    def _refuse(self, status: int, detail: str, more: bytes = b"") -> None:
        if self.transport.is_closing():
            return
        title = _TITLES[status]
        name = title.lower().replace(" ", "-")
        body = orjson.dumps(
            {
                "type": f"urn:dtrag:problem:{name}",
                "title": title,
                "status": status,
                "detail": detail,
                "instance": "",
                "request_id": "",
            }
        )
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n"
        )
        self.transport.write(head.encode("ascii") + more + b"\r\n" + body)
        self.transport.close()
