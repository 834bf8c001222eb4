"""How a Locust user sends one request of a stream, and what became of it."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import gevent
from locust.contrib.fasthttp import FastHttpSession, FastResponse

from dtrag_core.bench.http_service import POLL_NS, REFUSALS
from dtrag_core.bench.load import TIMEOUT
from dtrag_core.bench.load_result import FellBackError
from dtrag_core.bench.mixes import Stream

KEY = "DTRAG_API_KEY"


class Outcome(NamedTuple):
    """`refused` and `failed` are kinds, empty if it was not; answered if neither."""

    refused: str = ""
    failed: str = ""
    cached: bool = False


def headers(timeout_s: float) -> dict[str, str]:
    """Return what goes with every request."""
    key = os.environ.get(KEY)
    own = {"Content-Type": "application/json", "X-Timeout-Ms": f"{timeout_s * 1e3:.0f}"}
    return {**own, "Authorization": f"Bearer {key}"} if key else own


def send(client: FastHttpSession, stream: Stream, body: bytes, timeout_s: float) -> Outcome:
    """Send one request of a stream; of a batch, wait for its end."""
    sent = headers(timeout_s)
    if not stream.batches:
        return _asked(client, "POST", stream.path, body, sent, 200, _search)[0]
    outcome, accepted = _asked(client, "POST", stream.path, body, sent, 202)
    while not outcome.refused and not outcome.failed:
        gevent.sleep(POLL_NS / 1e9)
        path = f"/api/v1/batch/status/{accepted['job_id']}"
        outcome, state = _asked(client, "GET", path, None, sent, 200)
        if state and state["status"] not in ("queued", "running"):
            done = state["status"] == "completed" and not state["errors"]
            errors = "_errors" if state["errors"] else ""
            return outcome if done else Outcome(failed=f"job_{state['status']}{errors}")
    return outcome


def _search(answer: Mapping[str, Any]) -> Outcome:
    if answer["degraded"] or answer["mode"] != "optimized":
        return Outcome(failed=FellBackError.__name__)
    return Outcome(cached=answer["from_cache"])


def _asked(
    client: FastHttpSession,
    method: str,
    path: str,
    body: bytes | None,
    sent: Mapping[str, str],
    wanted: int,
    judge: Callable[[Mapping[str, Any]], Outcome] = lambda _: Outcome(),
) -> tuple[Outcome, dict[str, Any]]:
    name = "/api/v1/batch/status" if method == "GET" else path
    with client.request(
        method,
        path,
        name=name,
        data=cast(str | None, body),
        headers=dict(sent),
        catch_response=True,
    ) as context:
        response = cast(FastResponse, context)
        outcome, answer = Outcome(failed=_problem(response, wanted)), {}
        if response.status_code in REFUSALS:
            outcome = Outcome(refused=f"refused_{response.status_code}")
        elif not outcome.failed:
            answer = dict(response.json())
            outcome = judge(answer)
        if outcome.refused or outcome.failed:
            context.failure(outcome.refused or outcome.failed)
        else:
            context.success()
    return outcome, answer


def _problem(response: FastResponse, wanted: int) -> str:
    """Return the kind of failure; empty if the status is the one wanted."""
    error = getattr(response, "error", None)
    if response.status_code == 0:
        return TIMEOUT if isinstance(error, TimeoutError) else type(error).__name__
    return "" if response.status_code == wanted else f"http_{response.status_code}"
