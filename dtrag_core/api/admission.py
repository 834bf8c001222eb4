"""What every request passes before anything is computed for it: plain ASGI, round the application.

In this order, so that a refusal costs next to nothing: who asks (key), how often (token bucket),
the body within its limits, then breaker, limiter and pool of what it takes up. Only then the body
is parsed. While it is answered, the request is watched: it ends when its client left or its time is
up. A server that asks `shed` first refuses what there is no room for without beginning any of this.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from dtrag_core.api.bodies import BodyReader, ClientLeftError, replay
from dtrag_core.api.disconnect import Watch
from dtrag_core.api.exchange import Exchange, RequestIds
from dtrag_core.api.json_route import Direct
from dtrag_core.api.keys import ApiKey, KeyRing
from dtrag_core.api.problems import Problem, RequestError, logged_problem, problem_of
from dtrag_core.api.rules import Rule, rule_of
from dtrag_core.api.service import Service
from dtrag_core.errors import DeadlineExceededError, OverloadedError

CLIENT_LEFT: Final = 499  # never sent: nobody is there; as nginx logs it
MAX_TIMEOUT_MS: Final = 60_000
_NO_KEY: Final = RequestError(
    Problem(
        401,
        "unauthorized",
        "a valid API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
        headers=((b"www-authenticate", b"Bearer"),),
    )
)


class Admission:
    """Lets requests in to `app`; those in `direct`, by method and path, straight to their route."""

    def __init__(
        self,
        app: FastAPI,
        direct: Mapping[tuple[str, str], Direct],
        service: Service,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.app = app
        self._direct = direct
        self._settings = service.settings
        self._controller = service.controller
        self._metrics = service.metrics
        self._ring = service.ring
        self._buckets = service.buckets
        self._clock = clock
        self._ids = RequestIds()
        self._bodies = BodyReader(service.settings.bodies)
        # Requests that `shed` let in, and that have not begun, by what they take up.
        self._coming: Counter[str] = Counter()
        self.watch = Watch(clock=clock)

    def shed(self, scope: Scope) -> tuple[Message, Message] | None:
        """Return the refusal of a request for which there is no room; None lets it begin.

        Under overload most of what arrives ends here, so it is asked before anything else, keys
        included. It is to be called right before the request's task is made, if at all.
        """
        rule = rule_of(scope["method"], scope["path"])
        if rule.resource is None:
            return None
        try:
            self._controller.check(rule.resource, self._coming[rule.resource])
        except OverloadedError as error:
            exchange = Exchange(scope, _nowhere, self._ids)
            refusal = exchange.refusal(problem_of(error))
            exchange.end()
            self._metrics.request(rule.route, refusal[0]["status"], 0.0)
            return refusal
        self._coming[rule.resource] += 1
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = self._clock()
        rule = rule_of(scope["method"], scope["path"])
        if rule.resource is not None and self._coming[rule.resource]:
            self._coming[rule.resource] -= 1
        exchange = Exchange(scope, send, self._ids)
        try:
            await self._admit(exchange, rule, receive, started)
        except ClientLeftError:
            exchange.status = CLIENT_LEFT
        except Exception as error:
            await self._tell(exchange, error)
        finally:
            self._metrics.request(rule.route, exchange.status, self._clock() - started)
            exchange.end()

    async def _admit(
        self, exchange: Exchange, rule: Rule, receive: Receive, started: float
    ) -> None:
        if rule.keyed and self._ring is not None:
            self._check_key(exchange, rule, self._ring)
        scope = exchange.scope
        if rule.resource is None:
            await self.app(scope, receive, exchange.send)
            return
        exchange.deadline = started + self._timeout_s(exchange)
        most = rule.most_bytes(self._settings.bodies)
        body = await self._bodies.read(exchange.headers, receive, most)
        async with self._controller.controlled_execution(rule.resource, deadline=exchange.deadline):
            await self._watched(exchange, body, receive)

    async def _watched(self, exchange: Exchange, body: bytes, receive: Receive) -> None:
        scope = exchange.scope
        direct = self._direct.get((scope["method"], scope["path"]))
        watched = self.watch.enter(receive, exchange.deadline)
        try:
            if direct is not None:
                await direct(scope, body, receive, exchange.send)
            else:
                await self.app(scope, replay(body, receive), exchange.send)
        except asyncio.CancelledError:
            ending = watched.ended()
            if ending is None:
                raise
            if ending == "left":
                raise ClientLeftError from None
            raise DeadlineExceededError(
                "there was no answer in time; allow more by X-Timeout-Ms, or ask when there is "
                "less load"
            ) from None
        finally:
            self.watch.leave(watched)

    def _check_key(self, exchange: Exchange, rule: Rule, ring: KeyRing) -> None:
        key = ring.find(_given_key(exchange.headers))
        if key is None:
            raise _NO_KEY
        exchange.key = key
        if key.rate is not None:
            wait_s = self._buckets.take(key.slot, key.rate, key.burst)
            if wait_s:
                problem = Problem(429, "rate-limited", _beyond(key), retry_after_s=wait_s)
                raise RequestError(problem)
        if rule.writes and key.read_only:
            raise RequestError(Problem(403, "read-only-key", "this key may search, not write"))

    def _timeout_s(self, exchange: Exchange) -> float:
        given = exchange.headers.get(b"x-timeout-ms")
        if given is None:
            return self._settings.timeout_s
        if given.isdigit() and len(given) <= 5 and 1 <= int(given) <= MAX_TIMEOUT_MS:
            return int(given) / 1e3
        detail = f"X-Timeout-Ms must be a whole number of milliseconds in 1..{MAX_TIMEOUT_MS}"
        raise RequestError(Problem(422, "invalid-request", detail))

    async def _tell(self, exchange: Exchange, error: Exception) -> None:
        problem = logged_problem(error, f"request {exchange.request_id}")
        if not exchange.status:
            await exchange.tell(problem)
        elif not isinstance(error, OverloadedError | DeadlineExceededError):
            raise error  # the answer has begun: the server has to break it off


async def _nowhere(_: Message) -> None:
    """Send nothing: the server does."""


def _given_key(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")


def _beyond(key: ApiKey) -> str:
    return f"key {key.name!r} may send {key.rate:g} requests/s, {key.burst:g} at once"
