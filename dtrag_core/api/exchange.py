"""One request and its answer, as the admission and the routes see it."""

import itertools
import re
import secrets
from collections.abc import Mapping
from typing import Final

from starlette.types import Message, Scope, Send

from dtrag_core.api.keys import ANYONE
from dtrag_core.api.problems import Headers, Problem

_GIVEN_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_SCOPE_KEY: Final = "dtrag.exchange"
_OF_INTEREST: Final = frozenset(
    (b"authorization", b"content-length", b"x-api-key", b"x-request-id", b"x-timeout-ms")
)


class RequestIds:
    """Makes ids for requests that bring none: random for the process, then counted."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def next(self) -> str:
        """Return an id that no other request has."""
        return f"{self._prefix}-{next(self._numbers):x}"


class Exchange:
    """What is known of a request while it is answered; `send` passes its answer on.

    Every answer gets `X-Request-Id`.
    """

    __slots__ = ("_send", "deadline", "headers", "key", "request_id", "scope", "status")

    def __init__(self, scope: Scope, send: Send, ids: RequestIds) -> None:
        self.scope = scope
        self.headers: Mapping[bytes, bytes] = {
            name: value for name, value in scope["headers"] if name in _OF_INTEREST
        }
        given = self.headers.get(b"x-request-id")
        if given is not None and _GIVEN_ID.fullmatch(given):
            self.request_id = given.decode("ascii")
        else:
            self.request_id = ids.next()
        self.key = ANYONE
        self.deadline = 0.0
        self.status = 0
        self._send = send
        scope[_SCOPE_KEY] = self

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), self._own_header()]
        await self._send(message)

    def end(self) -> None:
        """Leave the scope: each would keep the other until garbage is collected."""
        del self.scope[_SCOPE_KEY]

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer."""
        self.status = status
        for message in self._messages(status, headers, body):
            await self._send(message)

    def problem(self, problem: Problem) -> tuple[int, Headers, bytes]:
        """Return status, headers and body that tell of a problem with this request."""
        instance = self.scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")[:300]
        return problem.response(self.request_id, instance)

    def refusal(self, problem: Problem) -> tuple[Message, Message]:
        """Return what `tell` sends."""
        return self._messages(*self.problem(problem))

    async def tell(self, problem: Problem) -> None:
        """Answer with a problem."""
        await self.answer(*self.problem(problem))

    def _messages(self, status: int, headers: Headers, body: bytes) -> tuple[Message, Message]:
        headers = [*headers, self._own_header()]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        return start, {"type": "http.response.body", "body": body}

    def _own_header(self) -> tuple[bytes, bytes]:
        return b"x-request-id", self.request_id.encode("ascii")


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange a scope belongs to."""
    exchange: Exchange = scope[_SCOPE_KEY]
    return exchange
