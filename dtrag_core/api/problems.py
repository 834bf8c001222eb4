"""Problem details (RFC 9457): what every error of the service becomes."""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from dtrag_core.errors import (
    CircuitOpenError,
    DataError,
    DeadlineExceededError,
    DtragError,
    EmbeddingError,
    IndexBusyError,
    LegFailedError,
    MemoryBudgetError,
    OverloadedError,
    UnknownFilterError,
    UnknownJobError,
    UsageError,
)
from dtrag_core.search.batch import LEGS

MEDIA_TYPE: Final = b"application/problem+json"
_TYPE: Final = "urn:dtrag:problem:"
_MOST_ERRORS: Final = 20
_MOST_CHARACTERS: Final = 300
_LEG_RETRY_S: Final = 1.0  # before its breaker opens: that tells how long it stays open
_LOG: Final = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is told; `name` says which kind of problem, in words with hyphens.

    `leg`: the one that failed or is left alone. `secret`: the error says more, for the log only.
    """

    status: int
    name: str
    detail: str
    errors: tuple[dict[str, Any], ...] = ()
    retry_after_s: float | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    leg: str | None = None
    secret: bool = False

    def members(self) -> dict[str, Any]:
        """Return what is the same for every request that has this problem."""
        members = {
            "type": _TYPE + self.name,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return members if self.leg is None else {**members, "leg": self.leg}

    def to_json(self, request_id: str, instance: str) -> dict[str, Any]:
        """Return all members."""
        members = {**self.members(), "instance": instance, "request_id": request_id}
        return {**members, "errors": list(self.errors)} if self.errors else members

    def response(self, request_id: str, instance: str) -> tuple[int, Headers, bytes]:
        """Return status, headers and body."""
        body = orjson.dumps(self.to_json(request_id, instance))
        headers: Headers = [
            (b"content-type", MEDIA_TYPE),
            (b"content-length", b"%d" % len(body)),
            *self.headers,
        ]
        if self.retry_after_s is not None:
            headers.append((b"retry-after", retry_after(self.retry_after_s)))
        return self.status, headers, body


_INTERNAL: Final = Problem(
    500, "internal", "the service failed; its log says more by request_id", secret=True
)


class RequestError(UsageError):
    """A request that cannot be answered, and the problem to tell its sender."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def retry_after(seconds: float) -> bytes:
    """Return whole seconds for `Retry-After`, at least one."""
    return b"%d" % max(1, math.ceil(min(seconds, 3_600.0)))


def problem_of(error: BaseException) -> Problem:
    """Return what a client is told of an error; nothing of one that was not raised on purpose."""
    if isinstance(error, RequestError):
        return error.problem
    if isinstance(error, ValidationError):
        return invalid(error.errors(include_url=False, include_context=False, include_input=False))
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, OverloadedError | IndexBusyError):
        return _of_overload(error)
    if isinstance(error, DtragError):
        return _of_search(error)
    return _INTERNAL


def logged_problem(error: BaseException, where: str) -> Problem:
    """Return what a client is told of an error; the log is told what the client is not."""
    problem = problem_of(error)
    if problem.secret:
        _LOG.error("%s failed", where, exc_info=error)
    return problem


def invalid(errors: Sequence[ErrorDetails]) -> Problem:
    """Return the problem of a body or parameters that do not fit the schema."""
    told = tuple(
        {
            "at": [part if isinstance(part, int) else _short(part) for part in error["loc"]],
            "problem": _short(error["msg"]),
        }
        for error in errors[:_MOST_ERRORS]
    )
    first = told[0] if told else {"at": [], "problem": "no valid request"}
    where = ".".join(map(str, first["at"])) or "the body"
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return Problem(422, "invalid-request", f"{where}: {first['problem']}{more}", told)


def _short(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _MOST_CHARACTERS else f"{clean[:_MOST_CHARACTERS]}..."


def _of_framework(error: HTTPException) -> Problem:
    headers = tuple(
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in (error.headers or {}).items()
    )
    name = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return Problem(error.status_code, name, str(error.detail), headers=headers)


def _of_overload(error: OverloadedError | IndexBusyError) -> Problem:
    if isinstance(error, IndexBusyError):
        return Problem(503, "index-busy", _short(str(error)), retry_after_s=1.0)
    leg = error.part if isinstance(error, CircuitOpenError) and error.part in LEGS else None
    name = _hyphened(type(error).__name__)
    return Problem(503, name, _short(str(error)), retry_after_s=error.retry_after_s, leg=leg)


@cache
def _hyphened(name: str) -> str:
    """Return "rate-limited" for "RateLimitedError"."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name.removesuffix("Error")).lower()


def _of_search(error: DtragError) -> Problem:
    detail = _short(str(error))
    if isinstance(error, UnknownJobError):
        return Problem(404, "unknown-job", detail)
    if isinstance(error, UnknownFilterError):
        return Problem(404, "unknown-filter", detail)
    if isinstance(error, DeadlineExceededError):
        return Problem(504, "deadline-exceeded", detail)
    if isinstance(error, LegFailedError):
        return _of_leg(error)
    if isinstance(error, MemoryBudgetError):
        detail = (
            f"the texts have {error.needed:,} bytes, at most {error.budget:,} are sent at a time; "
            "lower topk, or use /search/stream"
        )
        return Problem(422, "result-too-large", detail)
    if isinstance(error, UsageError | DataError | EmbeddingError):
        return Problem(422, "invalid-request", detail)
    return _INTERNAL


def _of_leg(error: LegFailedError) -> Problem:
    cause = error.__cause__
    if isinstance(cause, UsageError | EmbeddingError):  # the request's fault, not the leg's
        return problem_of(cause)
    detail = f"the {error.leg} leg failed; try again, or take an answer without it: allow_degraded"
    return Problem(
        503, "leg-failed", detail, retry_after_s=_LEG_RETRY_S, leg=error.leg, secret=True
    )
