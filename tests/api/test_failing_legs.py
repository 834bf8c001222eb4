"""A leg that fails or hangs, seen from outside: clear errors, no invented hits, and recovery."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.api.settings import ServiceSettings
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.engines.embedded_session import EmbeddedSession
from dtrag_core.errors import EmbeddingError
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.optimization.circuit_breaker import BreakerSettings, CircuitBreaker
from dtrag_core.search.batch import LEGS
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import Candidates, FloatArray, Mask, Switches

QUERY = "parse json text"


class BrokenSession(EmbeddedSession):
    """A session whose vector leg does what its engine says before it searches."""

    engine: "BrokenEngine"

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        self.engine.before()
        return super().vector_leg(vector, depth, mask)


class BrokenEngine(EmbeddedEngine):
    before: Callable[[], object] = staticmethod(lambda: None)

    def session(self, switches: Switches) -> EmbeddedSession:
        session = super().session(switches)
        session.__class__ = BrokenSession
        session.engine = self  # type: ignore[attr-defined]
        return session


class Case:
    """A service over the broken engine; `now` is the breakers' clock."""

    def __init__(self, engine: BrokenEngine, now: list[float], service: Any) -> None:  # noqa: ANN401
        self.engine = engine
        self.now = now
        self._service = service
        self._asked = 0

    def search(self, **options: object) -> Any:  # noqa: ANN401 (a response)
        self._asked += 1  # no two are the same search
        return self._service.post("/search", query=f"{QUERY} {self._asked}", **options)

    def stream(self, timeout_ms: int = 10_000, **options: object) -> Any:  # noqa: ANN401
        self._asked += 1
        body = {"query": f"{QUERY} {self._asked}", **options}
        headers = {"X-Timeout-Ms": str(timeout_ms)}
        return self._service.ask("POST", "/search/stream", json=body, headers=headers)

    def job(self, **options: object) -> Any:  # noqa: ANN401 (JSON)
        """Return what came of a job of one query."""
        self._asked += 1
        queries = [f"{QUERY} {self._asked}"]
        accepted = self._service.post("/api/v1/batch/search", queries=queries, **options).json()
        for _ in range(400):
            job = self._service.ask("GET", accepted["status_url"]).json()
            if job["status"] not in ("queued", "running"):
                return job
            time.sleep(0.02)
        raise AssertionError(job)

    def breaker(self) -> str:
        state: str = self._service.ask("GET", "/ready").json()["breakers"]["vector"]
        return state


@pytest.fixture
def case(small_index: Path, tmp_path: Path, run_app: Callable[..., Any]) -> Iterator[Case]:
    now = [0.0]
    rules = BreakerSettings(minimum_calls=3, slow_s=1.0, open_s=5.0)
    breakers = {leg: CircuitBreaker(leg, rules, clock=lambda: now[0]) for leg in LEGS}
    engine = BrokenEngine(small_index)
    dao = SearchDAO(engine, AsyncExecutionOptimizer(), breakers=breakers)
    settings = ServiceSettings(small_index, jobs=tmp_path / "jobs", cache=0, hang_s=0.2)
    with run_app(settings, dao) as service:
        yield Case(engine, now, service)


def fail() -> None:
    raise ConnectionError("no vectors today")


def check_problem(answer: Any, name: str, retry_after: str) -> None:  # noqa: ANN401 (a response)
    told = answer.json()
    assert (answer.status_code, told["status"]) == (503, 503)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == retry_after
    assert (told["type"], told["leg"]) == (f"urn:dtrag:problem:{name}", "vector")
    assert "vectors today" not in answer.text  # nor any other part of a traceback
    assert "Error" not in answer.text


def test_a_failing_leg_is_told_of_and_left_alone_until_a_probe_succeeds(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.engine.before = fail
    told = [case.search() for _ in range(3)]
    for each in told:
        check_problem(each, "leg-failed", "1")
    assert "no vectors today" in caplog.text
    assert case.breaker() == "open"

    check_problem(case.search(), "circuit-open", "5")
    degraded = case.search(allow_degraded=True).json()
    assert degraded["degraded"]
    assert [hit["cosine"] for hit in degraded["hits"]] == [None] * 5
    assert all(hit["bm25"] > 0 for hit in degraded["hits"])

    case.now[0] = 5.0
    check_problem(case.search(), "leg-failed", "1")  # the probe: open again
    check_problem(case.search(), "circuit-open", "5")
    case.now[0] = 10.0
    del case.engine.before
    assert not case.search().json()["degraded"]
    assert case.breaker() == "closed"


def test_a_hanging_leg_is_given_up_and_then_left_alone(case: Case) -> None:
    ends = threading.Event()
    case.engine.before = ends.wait
    try:
        for _ in range(3):
            assert case.search().status_code == 504
        case.now[0] = 1.0  # they have been out for too long
        assert case.breaker() == "open"
        assert case.search().status_code == 503
        assert case.search(allow_degraded=True).json()["degraded"]
    finally:
        ends.set()
    del case.engine.before
    case.now[0] = 6.0
    assert case.search().status_code == 200
    assert case.breaker() == "closed"


def test_a_stream_goes_through_the_breakers_too(case: Case) -> None:
    case.engine.before = fail
    for _ in range(3):
        check_problem(case.stream(), "leg-failed", "1")
    assert case.breaker() == "open"
    check_problem(case.stream(), "circuit-open", "5")
    check_problem(case.search(), "circuit-open", "5")  # they share the breakers

    *hits, end = map(json.loads, case.stream(allow_degraded=True, topk=20).text.splitlines())
    assert end == {"end": True, "hits": 20, "degraded": True}
    assert [hit["cosine"] for hit in hits] == [None] * 20
    assert [hit["bm25"] for hit in hits] == sorted((hit["bm25"] for hit in hits), reverse=True)

    case.now[0] = 5.0
    del case.engine.before
    *hits, end = map(json.loads, case.stream(allow_degraded=True).text.splitlines())
    assert end == {"end": True, "hits": len(hits), "degraded": False}
    assert case.breaker() == "closed"


def test_a_degraded_stream_without_hits_says_so(case: Case) -> None:
    case.engine.before = fail
    told = case.stream(query="zzzqqq", allow_degraded=True)
    (end,) = map(json.loads, told.text.splitlines())
    assert end == {"end": True, "hits": 0, "degraded": True}


def test_a_stream_whose_leg_hangs_ends_in_time_and_opens_the_breaker(case: Case) -> None:
    ends = threading.Event()
    case.engine.before = ends.wait
    try:
        for _ in range(3):
            assert case.stream(timeout_ms=50).status_code == 504
        case.now[0] = 1.0
        check_problem(case.stream(), "circuit-open", "5")
    finally:
        ends.set()


def test_queries_of_jobs_tell_which_leg_failed(case: Case) -> None:
    case.engine.before = fail
    (error,) = case.job()["errors"]
    problem = error["problem"]
    assert (problem["status"], problem["leg"]) == (503, "vector")
    assert problem["type"] == "urn:dtrag:problem:leg-failed"
    assert "vectors today" not in str(problem)
    (result,) = case.job(allow_degraded=True)["results"]
    assert result["degraded"]


def test_a_leg_that_refuses_the_request_is_no_failure(case: Case) -> None:
    def refuse() -> None:
        raise EmbeddingError("this query has no vector")

    case.engine.before = refuse
    for told in [case.search(), case.stream(), case.search(), case.stream()]:
        assert told.status_code == 422
        assert told.json()["detail"] == "this query has no vector"
    assert case.breaker() == "closed"
