"""uvicorn's HTTP protocol, with bounds on what a connection may cost before it is a request."""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

import orjson
from starlette.types import ASGIApp, Message, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from dtrag_core.api.one_write import OneWrite
from dtrag_core.api.settings import ConnectionLimits

_TITLES: Final = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}  # fmt: skip  # noqa: E501
_FRAMING: Final = 8  # bytes that may frame one byte of a body, as in chunks of one byte


Shed = Callable[[Scope], tuple[Message, Message] | None]
"""Returns the refusal of a request, as ASGI messages; None if it may begin."""


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections that do not get on with a request, or an answer, and those too many.

    A request that is no HTTP is answered with a problem, as all others that cannot be answered,
    unless another answer is on its way: then the connection is closed after what was sent. What
    `shed` refuses is answered at once, without a task: when there is too much to do, this costs
    half as much, and does not wait for what else the loop has to do.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        shed: Shed,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._shed = shed
        self._timer: TimerHandle | None = None
        self._unread: TimerHandle | None = None
        self._in_headers = True  # of the first request, which is waited for
        self._in_message = False
        self._begun = 0
        self._bytes = self._body_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for the headers of a first request."""
        self._out = OneWrite(transport, self.loop)
        super().connection_made(cast(Transport, self._out))
        if len(self.connections) > self._limits.most:
            self._refuse(503, "too many connections", b"retry-after: 1\r\n")
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Send what is held: the loop closes the connection after this."""
        self._out.flush()

    def pause_writing(self) -> None:
        """Stop answering until the client has read; not for long if it does not."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Go on answering."""
        self._stop_watching()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a client that owes more of a request has so much time and room for it."""
        amid, self._begun = self._in_message, 0
        super().data_received(data)
        if self.transport.is_closing():
            return
        answered = self.cycle is None or self.cycle.response_complete
        if not (self._in_headers or self._in_message):
            if answered and self.timeout_keep_alive_task is None:  # nothing begins with these bytes
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
            return
        if self._begun <= (not amid):  # else they are those of several requests
            self._bytes += len(data)
        if self._bytes > self._limits.header_bytes + _FRAMING * self._body_bytes:
            detail = f"headers, and the framing of a body, may have {self._limits.header_bytes:,}"
            self._refuse(431, f"{detail} bytes")
        elif answered and self._timer is None:
            self._wait()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._unset_keepalive_if_required()  # set if the one before was refused in these same bytes
        self._in_headers = self._in_message = True
        self._begun += 1
        self._bytes = self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, but no trailer: those come when the request is being answered."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Answer the request, unless its sender asks too much at the same time."""
        self._stop_waiting()
        if len(self.pipeline) >= self._limits.pipelined:
            self.transport.abort()
        super().on_headers_complete()
        self._in_headers = False
        if self.parser.should_upgrade():  # to what this is not: the parser reads no more
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._in_message = False
        self._stop_waiting()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        # The answer to a request for another protocol ends the connection, which is seen to later.
        later = self.flow.write_paused or self.parser.should_upgrade()
        refusal = None if later else self._shed(cast(Scope, cycle.scope))
        if refusal is None:
            super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]
        elif not all(_ran(cycle.send(message)) for message in refusal):  # type: ignore[arg-type]
            self.transport.abort()  # much is left unread: what it waits for may never come

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, msg)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self._limits.headers_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self._refuse(408, f"the headers were not there within {self._limits.headers_s:g} s")

    def _watch(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(self._limits.unread_s, self._look, size)

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _look(self, size: int) -> None:
        if self.transport.get_write_buffer_size() < size:
            self._watch()
        else:
            self.transport.abort()

    def _may_answer(self) -> bool:
        """Return whether no other answer is, or will be, sent on this connection."""
        if self._in_message and not self._in_headers:
            return not (self.cycle.response_started or self.pipeline)
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, status: int, detail: str, more: bytes = b"") -> None:
        if self.transport.is_closing():
            return
        if not self._may_answer():
            self.transport.close()
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


def _ran(coroutine: Coroutine[Any, Any, None]) -> bool:
    """Run a coroutine up to where it waits; return whether it came to its end."""
    try:
        coroutine.send(None)
    except StopIteration:
        return True
    coroutine.close()
    return False
