"""A batch answers each of its searches as the search alone would, whatever the others are."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.engines.base import BatchSession
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.engines.embedded_session import EmbeddedSession
from dtrag_core.errors import CircuitOpenError, InvalidRequestError, LegFailedError
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.optimization.circuit_breaker import BreakerSettings, CircuitBreaker
from dtrag_core.search.batch import LEGS, BatchRequest
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import (
    CandidateBatch,
    Candidates,
    Filters,
    FloatArray,
    Fusion,
    Mask,
    SearchParams,
    SearchResult,
    Starts,
    Switches,
)

REQUESTS = st.builds(
    BatchRequest,
    st.sampled_from(
        ("split a string into words", "parse json text", "compress bytes", "zzzz qqqq", "lock")
    ),
    st.builds(
        SearchParams,
        topk=st.sampled_from((1, 5, 40)),
        bm25_topk=st.sampled_from((1, 12, 300)),
        vector_topk=st.sampled_from((1, 12, 300)),
        rerank_candidates=st.sampled_from((1, 50)),
        filters=st.sampled_from(
            (None, Filters(canonical_in=(("python", "json"),)), Filters(doc_type=("class",)))
        ),
        fusion=st.sampled_from((None, Fusion("rrf"), Fusion(bm25_weight=0.9))),
    ),
    st.sampled_from(("optimized", "optimized", "legacy")),
)


class FaultyEngine(EmbeddedEngine):
    """An engine whose legs fail on request, and for some queries only."""

    failing: frozenset[str] = frozenset()
    poison = "poison"

    def session(self, switches: Switches) -> EmbeddedSession:
        super().session(switches)
        return FaultySession(self, switches)

    def embed_query(self, text: str) -> FloatArray:
        return np.asarray(self.embed_queries([text])[0])

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        if "embed" in self.failing or self.poison in texts:
            raise RuntimeError("the embedder is gone")
        return super().embed_queries(texts)


class FaultySession(EmbeddedSession):
    def __init__(self, engine: FaultyEngine, switches: Switches) -> None:
        super().__init__(engine._analyzer, engine._generations.present, switches)
        self._failing = engine.failing

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        self._check("bm25")
        return super().bm25_leg(query, depth, mask)

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        self._check("vector")
        return super().vector_leg(vector, depth, mask)

    def bm25_batch(
        self, queries: Sequence[str], depths: Starts, mask: Mask | None
    ) -> CandidateBatch:
        self._check("bm25")
        return super().bm25_batch(queries, depths, mask)

    def vector_batch(
        self, vectors: FloatArray, depths: Starts, mask: Mask | None
    ) -> CandidateBatch:
        self._check("vector")
        return super().vector_batch(vectors, depths, mask)

    def _check(self, leg: str) -> None:
        if leg in self._failing:
            raise ConnectionError(f"no {leg} today")


@pytest.fixture(scope="module")
def engine(small_index: Path) -> Iterator[FaultyEngine]:
    opened = FaultyEngine(small_index)
    yield opened
    opened.close()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def breakers(now: list[float]) -> dict[str, CircuitBreaker]:
    settings = BreakerSettings(minimum_calls=4, open_s=5.0)
    return {leg: CircuitBreaker(leg, settings, clock=lambda: now[0]) for leg in LEGS}


@pytest.fixture
def dao(engine: FaultyEngine, breakers: dict[str, CircuitBreaker]) -> Iterator[SearchDAO]:
    engine.failing = frozenset()
    made = SearchDAO(engine, AsyncExecutionOptimizer(), breakers=breakers)
    yield made
    engine.failing = frozenset()
    made.executor.close()


@pytest.fixture(scope="module")
def plain(engine: FaultyEngine) -> Iterator[SearchDAO]:
    made = SearchDAO(engine, AsyncExecutionOptimizer())
    yield made
    made.executor.close()


def result(answer: SearchResult | Exception) -> SearchResult:
    assert isinstance(answer, SearchResult), answer
    return answer


def ask(query: str = "parse json text", *, allow_degraded: bool = False) -> BatchRequest:
    return BatchRequest(query, SearchParams(), allow_degraded=allow_degraded)


def test_this_engine_searches_in_batches(plain: SearchDAO) -> None:
    assert isinstance(plain.engine.session(plain.switches), BatchSession)


@given(requests=st.lists(REQUESTS, max_size=12))
def test_each_gets_the_answer_it_would_get_alone(
    plain: SearchDAO, requests: list[BatchRequest]
) -> None:
    answers = plain.search_batch(requests)
    assert len(answers) == len(requests)
    for request, answer in zip(requests, answers, strict=True):
        params = request.params
        alone = asyncio.run(
            plain.hybrid_search(
                request.query,
                params.filters,
                params.topk,
                params.bm25_topk,
                params.vector_topk,
                params.rerank_candidates,
                mode=request.mode,
                fusion=params.fusion,
            )
        )
        assert result(answer).hits == alone.hits
        assert (result(answer).mode, result(answer).switches) == (alone.mode, alone.switches)
        assert not result(answer).degraded
        assert {span.name for span in result(answer).timings} == {
            *LEGS,
            "fuse",
            "fetch",
        }


def test_a_request_that_cannot_be_fails_alone(plain: SearchDAO) -> None:
    wrong = replace(ask(), params=SearchParams(topk=0))
    nowhere = replace(ask(), params=SearchParams(filters=Filters((("no", "such"),))))
    good, bad, empty, lost = plain.search_batch([ask(), wrong, ask("  "), nowhere])
    assert result(good).hits
    assert isinstance(bad, InvalidRequestError)
    assert isinstance(empty, InvalidRequestError)
    assert isinstance(lost, InvalidRequestError)


def test_a_query_that_breaks_a_leg_breaks_no_other(
    dao: SearchDAO, breakers: dict[str, CircuitBreaker]
) -> None:
    good, bad, other = dao.search_batch([ask(), ask(FaultyEngine.poison), ask("compress bytes")])
    assert result(good).hits
    assert result(other).hits
    assert isinstance(bad, LegFailedError)
    assert bad.leg == "embed"
    assert breakers["embed"].statistics().failed == 1


@pytest.mark.parametrize("leg", LEGS)
def test_without_a_leg_nothing_is_invented(
    dao: SearchDAO, engine: FaultyEngine, breakers: dict[str, CircuitBreaker], leg: str
) -> None:
    engine.failing = frozenset({leg})
    strict, willing = dao.search_batch([ask(), ask(allow_degraded=True)])
    assert isinstance(strict, LegFailedError)
    assert strict.leg == leg
    degraded = result(willing)
    assert degraded.degraded
    assert len(degraded.hits) == 5
    missing = [hit.bm25 if leg == "bm25" else hit.cosine for hit in degraded.hits]
    known = [hit.cosine if leg == "bm25" else hit.bm25 for hit in degraded.hits]
    assert np.isnan(missing).all()
    assert known == sorted(known, reverse=True)
    assert breakers[leg].statistics().failed == 2


def test_no_leg_no_answer_even_to_the_willing(dao: SearchDAO, engine: FaultyEngine) -> None:
    engine.failing = frozenset({"bm25", "vector"})
    (answer,) = dao.search_batch([ask(allow_degraded=True)])
    assert isinstance(answer, LegFailedError)


def test_a_failing_leg_is_left_alone_until_one_probe_succeeds(
    dao: SearchDAO, engine: FaultyEngine, breakers: dict[str, CircuitBreaker], now: list[float]
) -> None:
    engine.failing = frozenset({"vector"})
    for _ in range(4):
        assert isinstance(dao.search_batch([ask()])[0], LegFailedError)
    assert breakers["vector"].state == "open"
    refused, degraded = dao.search_batch([ask(), ask(allow_degraded=True)])
    assert isinstance(refused, CircuitOpenError)
    assert refused.retry_after_s == pytest.approx(5.0)
    assert result(degraded).degraded
    engine.failing = frozenset()
    assert isinstance(dao.search_batch([ask()])[0], CircuitOpenError)
    now[0] = 5.0
    assert not result(dao.search_batch([ask()])[0]).degraded
    assert breakers["vector"].statistics().state == "closed"
