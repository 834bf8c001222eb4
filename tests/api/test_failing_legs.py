"""A leg that fails or hangs, seen from outside: clear errors, no invented hits, and recovery."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dtrag_core.api.settings import ServiceSettings
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.engines.embedded_session import EmbeddedSession
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


def test_a_failing_leg_is_told_of_and_left_alone_until_a_probe_succeeds(case: Case) -> None:
    case.engine.before = fail
    told = [case.search() for _ in range(3)]
    assert {each.status_code for each in told} == {500}
    assert told[0].json()["detail"] == "the vector leg failed"
    assert "vectors today" not in told[0].text
    assert case.breaker() == "open"

    refused = case.search()
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    degraded = case.search(allow_degraded=True).json()
    assert degraded["degraded"]
    assert [hit["cosine"] for hit in degraded["hits"]] == [None] * 5
    assert all(hit["bm25"] > 0 for hit in degraded["hits"])

    case.now[0] = 5.0
    assert case.search().status_code == 500  # the probe fails: open again
    assert case.search().status_code == 503
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
