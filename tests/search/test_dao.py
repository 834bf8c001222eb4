"""Hybrid search on a small real corpus: both paths, filters, caches, streaming, bad requests."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import (
    InvalidRequestError,
    LegFailedError,
    MemoryBudgetError,
    UnknownNameError,
)
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.search.cache import SingleFlightCache
from dtrag_core.search.dao import HitPart, SearchCaches, SearchDAO
from dtrag_core.types import (
    LEGACY,
    OPTIMIZED,
    Filters,
    FloatArray,
    Fusion,
    Hit,
    Mode,
    SearchParams,
    Switches,
)

T = TypeVar("T")
QUERIES = (
    "split a string into a list of words",
    "parse json text",
    "thread safe queue",
    "compress bytes",
    "the quick brown fox",
)


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


@pytest.fixture(scope="module")
def engine(small_index: Path) -> Iterator[EmbeddedEngine]:
    opened = EmbeddedEngine(small_index)
    yield opened
    opened.close()


@pytest.fixture
def dao(engine: EmbeddedEngine) -> Iterator[SearchDAO]:
    made = SearchDAO(engine, AsyncExecutionOptimizer())
    yield made
    made.executor.close()


def ids(hits: tuple[Hit, ...]) -> list[str]:
    return [hit.id for hit in hits]


@pytest.mark.parametrize("query", QUERIES)
def test_equal_structures_give_equal_rankings_on_both_paths(
    engine: EmbeddedEngine, query: str
) -> None:
    dao = SearchDAO(engine, AsyncExecutionOptimizer(), switches=Switches(overlap=True))
    legacy = run(dao.hybrid_search(query, topk=10, mode="legacy"))
    optimized = run(dao.hybrid_search(query, topk=10))
    assert optimized.hits == legacy.hits
    dao.executor.close()


@pytest.mark.parametrize("query", QUERIES)
def test_int8_finds_what_float32_finds(dao: SearchDAO, query: str) -> None:
    legacy = run(dao.hybrid_search(query, topk=10, mode="legacy"))
    optimized = run(dao.hybrid_search(query, topk=10))
    assert len(set(ids(legacy.hits)) & set(ids(optimized.hits))) >= 9
    for hit in legacy.hits[:3]:
        other = next((each for each in optimized.hits if each.id == hit.id), None)
        assert other is not None
        assert other.bm25 == hit.bm25
        assert other.cosine == pytest.approx(hit.cosine, abs=0.01)


@pytest.mark.parametrize(("mode", "switches"), [("legacy", LEGACY), ("optimized", OPTIMIZED)])
def test_the_result_says_what_ran(dao: SearchDAO, mode: Mode, switches: Switches) -> None:
    result = run(dao.hybrid_search(QUERIES[0], mode=mode))
    assert (result.mode, result.switches) == (mode, switches)
    assert not result.from_cache
    assert not result.degraded
    assert {span.name for span in result.timings} == {"embed", "bm25", "vector", "fuse", "fetch"}
    assert [hit.rank for hit in result.hits] == [1, 2, 3, 4, 5]
    assert all(a.score >= b.score for a, b in zip(result.hits, result.hits[1:], strict=False))


def test_a_known_item_is_found(dao: SearchDAO) -> None:
    found = run(dao.hybrid_search("Shorthand for creating a Counter of most common elements"))
    assert any("Counter" in hit.id or "counter" in hit.chunk.text.lower() for hit in found.hits)


def test_filters_restrict_both_legs(dao: SearchDAO) -> None:
    filters = Filters((("python", "json"), ("python", "csv")), ("class",))
    found = run(dao.hybrid_search("read a file", filters, topk=5))
    written = {"canonical_in": ["python/json", "python/csv"], "doc_type": ["class"]}
    assert run(dao.hybrid_search("read a file", written, topk=5)).hits == found.hits
    assert found.hits
    for hit in found.hits:
        assert hit.chunk.path[:2] in {("python", "json"), ("python", "csv")}
        assert hit.chunk.doc_type == "class"


def test_fusion_weights_of_one_and_zero_are_the_legs_alone(
    dao: SearchDAO, engine: EmbeddedEngine
) -> None:
    query = QUERIES[1]
    names = engine.chunk_ids()
    session = engine.session(LEGACY)
    bm25 = session.bm25_leg(query, 5, None).ids
    near = session.vector_leg(engine.embed_query(query), 5, None).ids
    only_bm25 = run(dao.hybrid_search(query, mode="legacy", fusion=Fusion("weighted", 1.0)))
    only_vector = run(dao.hybrid_search(query, mode="legacy", fusion=Fusion("weighted", 0.0)))
    assert ids(only_bm25.hits) == [names[row] for row in bm25]
    assert ids(only_vector.hits) == [names[row] for row in near]


@pytest.mark.parametrize("mode", ["legacy", "optimized"])
def test_a_failing_leg_fails_the_search(
    engine: EmbeddedEngine, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(text: str) -> FloatArray:
        raise ZeroDivisionError(text)

    monkeypatch.setattr(engine, "embed_query", fails)
    dao = SearchDAO(engine, AsyncExecutionOptimizer())
    with pytest.raises(LegFailedError, match="the embed leg failed"):
        run(dao.hybrid_search("words", mode=mode))
    dao.executor.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"query": "  \n"}, "empty"),
        ({"query": "x" * 100_000}, "100,000 characters"),
        ({"topk": 0}, "got 0"),
        ({"topk": 10_000_000}, "10,000,000"),
        ({"bm25_topk": 0}, "bm25_topk must be at least 1, got 0"),
        ({"rerank_candidates": -1}, "rerank_candidates"),
        ({"filters": {"canonical": ["a"]}}, "unknown filter 'canonical'"),
        ({"filters": {"doc_type": []}}, "non-empty list"),
        ({"filters": {"doc_type": "class"}}, "'class'"),
        ({"filters": {"canonical_in": ["python//json"]}}, "python//json"),
        ({"filters": {"canonical_in": ["pithon"]}}, "pithon"),
        ({"filters": {"doc_type": 5}}, "5"),
        ({"filters": {"doc_type": ["a", 1]}}, "list of texts"),
        ({"filters": {"canonical_in": [7]}}, "7"),
        ({"query": None}, "None"),
        ({"topk": 2.5}, "whole number, got 2.5"),
        ({"topk": True}, "True"),
        ({"fusion": Fusion("weighted", 2.0)}, "2.0"),
    ],
)
def test_impossible_requests_say_what_was_wrong(
    dao: SearchDAO, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        run(dao.hybrid_search(**{"query": "words", **arguments}))


def test_unknown_modes_are_refused(dao: SearchDAO) -> None:
    with pytest.raises(UnknownNameError, match=r"'fast'.*legacy, optimized"):
        run(dao.hybrid_search("words", mode="fast"))  # type: ignore[arg-type]


@pytest.fixture
def cached(engine: EmbeddedEngine) -> Iterator[SearchDAO]:
    caches = SearchCaches(SingleFlightCache(10), SingleFlightCache(10))
    made = SearchDAO(engine, AsyncExecutionOptimizer(), caches=caches)
    yield made
    made.executor.close()


def test_equal_requests_are_answered_from_the_cache(cached: SearchDAO) -> None:
    first = run(cached.hybrid_search("split  a string "))
    again = run(cached.hybrid_search("split a string"))
    assert not first.from_cache
    assert again.from_cache
    assert again.hits == first.hits
    assert again.timings == ()


@pytest.mark.parametrize(
    "other",
    [
        {"topk": 6},
        {"filters": {"doc_type": ["class"]}},
        {"fusion": Fusion("rrf")},
        {"query": "split a strings"},
    ],
)
def test_other_requests_are_not(cached: SearchDAO, other: dict[str, Any]) -> None:
    run(cached.hybrid_search("split a string"))
    assert not run(cached.hybrid_search(**{"query": "split a string", **other})).from_cache


def test_legacy_never_uses_the_cache(cached: SearchDAO) -> None:
    run(cached.hybrid_search("split a string"))
    assert not run(cached.hybrid_search("split a string", mode="legacy")).from_cache


def test_with_caches_too_a_failing_embedding_is_named_and_timed(
    cached: SearchDAO, engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {span.name for span in run(cached.hybrid_search("split a string")).timings}
    assert names == {"embed", "bm25", "vector", "fuse", "fetch"}

    def fails(text: str) -> FloatArray:
        raise ZeroDivisionError(text)

    monkeypatch.setattr(engine, "embed_query", fails)
    with pytest.raises(LegFailedError, match="the embed leg failed"):
        run(cached.hybrid_search("other words"))


def test_embeddings_are_cached_apart_from_results(cached: SearchDAO) -> None:
    run(cached.hybrid_search("split a string", topk=3))
    run(cached.hybrid_search("split a string", topk=4))
    assert cached.caches is not None
    assert cached.caches.embeddings.statistics().hits == 1


def test_streaming_yields_what_a_whole_search_finds(dao: SearchDAO) -> None:
    params = SearchParams(200, 200, 200, 400)

    async def streamed() -> list[HitPart]:
        return [part async for part in dao.stream_search("read a file", params)]

    whole = run(dao.hybrid_search("read a file", None, 200, 200, 200, 400))
    parts = run(streamed())
    assert [hit for part in parts for hit in part.hits] == list(whole.hits)


def test_texts_beyond_the_byte_budget_are_refused_but_can_be_streamed(
    engine: EmbeddedEngine,
) -> None:
    dao = SearchDAO(engine, AsyncExecutionOptimizer(byte_budget=20_000))
    params = SearchParams(100, 100, 100, 200)

    async def streamed() -> list[int]:
        return [
            sum(len(hit.chunk.text.encode()) for hit in part.hits)
            async for part in dao.stream_search("read a file", params)
        ]

    with pytest.raises(MemoryBudgetError, match=r"budget is 20,000 bytes.*stream_search"):
        run(dao.hybrid_search("read a file", None, 100, 100, 100, 200))
    sizes = run(streamed())
    assert len(sizes) > 1
    assert max(sizes) <= 20_000
    assert run(dao.hybrid_search("read a file", topk=1)).hits
    dao.executor.close()


def test_a_query_that_matches_nothing_by_terms_is_answered_by_vectors(dao: SearchDAO) -> None:
    result = run(dao.hybrid_search("zzzqqq", mode="legacy"))
    assert all(hit.bm25 == 0 for hit in result.hits)
    assert not result.degraded


def test_scores_are_what_the_fusion_says(dao: SearchDAO, engine: EmbeddedEngine) -> None:
    fusion = Fusion("weighted", 0.3)
    found = run(dao.hybrid_search(QUERIES[0], topk=20, mode="legacy", fusion=fusion))
    minimum = engine.info.cosine_min
    # The query's maxima are over all candidates, which a deep enough result holds entirely.
    deep = run(
        dao.hybrid_search(QUERIES[0], None, 24, 12, 12, 50, mode="legacy", fusion=replace(fusion))
    )
    best_bm25 = max(hit.bm25 for hit in deep.hits)
    best_cosine = max(hit.cosine for hit in deep.hits)
    for hit in deep.hits:
        expected = 0.3 * hit.bm25 / best_bm25
        expected += 0.7 * (hit.cosine - minimum) / (best_cosine - minimum)
        assert hit.score == pytest.approx(expected, abs=1e-5)
    assert np.isfinite([hit.score for hit in found.hits]).all()
