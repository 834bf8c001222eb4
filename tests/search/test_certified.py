"""Certified search against brute force over every chunk, on a corpus full of ties."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dtrag_core.datasets.registry import open_dataset
from dtrag_core.engines.base import Session
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.errors import InvalidRequestError, LegFailedError
from dtrag_core.index.writer import IndexWriter
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.ranking.fusion import fuse, order_by_score
from dtrag_core.search.certified import CertifiedResult
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import (
    LEGACY,
    Filters,
    FloatArray,
    Fusion,
    Mode,
    SearchParams,
    Switches,
)
from dtrag_core.workbench import prepare

WORDS = (
    "wren",
    "heron",
    "pike",
    "salmon",
    "oak",
    "birch",
    "thyme",
    "mint",
    "river",
    "hedge",
    "slope",
    "soil",
    "tea",
    "frog",
    "bark",
)
TOP = (("a",), ("a", "x"), ("a", "y"), ("b",))
KINDS = ("note", "note", "letter", "note")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    """300 short texts of few words, a third of them repeated, and some deleted again."""
    folder = tmp_path_factory.mktemp("certified")
    rng = random.Random(4)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 6))) for _ in range(200)]
    texts += texts[:100]
    with (folder / "corpus.jsonl").open("w") as file:
        for number, text in enumerate(texts):
            chunk = {
                "id": str(number),
                "text": text,
                "path": TOP[number % 4],
                "doc_type": KINDS[number % 4],
            }
            file.write(json.dumps(chunk) + "\n")
    index = prepare(open_dataset(f"jsonl:{folder / 'corpus.jsonl'}"), "lsa", directory=folder / "i")
    with IndexWriter(index) as writer:
        writer.delete([str(number) for number in range(0, 300, 7)])
    opened = EmbeddedEngine(index)
    yield opened
    opened.close()


def certified(
    engine: EmbeddedEngine, query: str, params: SearchParams, mode: Mode = "optimized"
) -> CertifiedResult:
    executor = AsyncExecutionOptimizer()
    try:
        return asyncio.run(SearchDAO(engine, executor).certified_search(query, params, mode=mode))
    finally:
        executor.close()


def brute_force(
    session: Session, query: str, vector: FloatArray, params: SearchParams, fusion: Fusion
) -> tuple[list[str], list[float]]:
    """Return names and scores of the best after fusing every chunk that a leg could find."""
    chunks, mask = session.info.chunks, session.compile_filters(params.filters)
    legs = session.vector_leg(vector, chunks, mask), session.bm25_leg(query, chunks, mask)
    ids = np.union1d(legs[0].ids, legs[1].ids).astype(np.int32)
    bm25, cosine = session.bm25_scores(query, ids), session.cosine_scores(vector, ids)
    fused = fuse(bm25, cosine, fusion, session.info.cosine_min)
    best = order_by_score(ids, fused, cosine, params.topk)
    return list(session.names(ids[best])), fused[best].tolist()


fusions = st.one_of(
    st.sampled_from((0.0, 0.05, 0.5, 0.95, 1.0)).map(lambda weight: Fusion("weighted", weight)),
    st.floats(0, 1, width=32).map(lambda weight: Fusion("weighted", weight)),
    st.sampled_from((1, 10, 60)).map(lambda k: Fusion("rrf", rrf_k=k)),
)
restrictions = st.none() | st.builds(
    Filters,
    st.none() | st.lists(st.sampled_from(TOP), min_size=1, max_size=2).map(tuple),
    st.none() | st.sampled_from((("note",), ("letter",))),
)
NOTHING = Filters((("b",),), ("letter",))


@settings(max_examples=200)
@given(
    query=st.lists(st.sampled_from([*WORDS, "unknown"]), min_size=1, max_size=5).map(" ".join),
    fusion=fusions,
    filters=restrictions,
    topk=st.integers(1, 40),
    depths=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    mode=st.sampled_from(("legacy", "optimized")),
)
@example("unknown", Fusion("weighted", 0.5), None, 40, (1, 1), "optimized")
@example("unknown", Fusion("rrf"), NOTHING, 3, (1, 1), "legacy")
@example("wren", Fusion("weighted", 0.5), NOTHING, 3, (1, 1), "optimized")
@example("wren", Fusion("weighted", 1.0), None, 40, (1, 60), "optimized")
def test_the_certified_best_are_those_of_brute_force(
    engine: EmbeddedEngine,
    query: str,
    fusion: Fusion,
    filters: Filters | None,
    topk: int,
    depths: tuple[int, int],
    mode: Mode,
) -> None:
    params = SearchParams(topk, *depths, 1, filters, fusion)
    found = certified(engine, query, params, mode)
    session = engine.session(LEGACY if mode == "legacy" else Switches(int8=True))
    names, scores = brute_force(session, query, engine.embed_query(query), params, fusion)
    assert [hit.id for hit in found.hits] == names
    if fusion.method == "weighted":
        assert [hit.score for hit in found.hits] == scores
    else:
        assert all(hit.score <= score for hit, score in zip(found.hits, scores, strict=True))


def test_chunks_that_neither_leg_brings_at_its_depth_are_found(small_index: Path) -> None:
    params = SearchParams(5, 5, 5, 10, fusion=Fusion("weighted", 0.5))
    engine = EmbeddedEngine(small_index)
    session = engine.session(Switches(int8=True))
    missed = 0
    verbs, nouns = ("parse", "read", "write"), ("text object", "bytes class", "text string")
    queries = [f"{verb} {noun}" for verb in verbs for noun in nouns]
    for query in queries:
        near = session.vector_leg(engine.embed_query(query), 5, None)
        legs = session.names(np.union1d(near.ids, session.bm25_leg(query, 5, None).ids))
        found = certified(engine, query, params)
        beyond = {hit.id for hit in found.hits} - set(legs)
        assert not beyond or found.certificate.rounds > 1
        missed += len(beyond)
    engine.close()
    assert missed


def test_the_certificate_says_what_it_took(engine: EmbeddedEngine) -> None:
    params = SearchParams(3, 5, 10, 1, fusion=Fusion("weighted", 0.5))
    found = certified(engine, "wren river", params)
    facts = found.certificate
    assert facts.vectors == "int8 codes"
    assert facts.bm25_depth == 5 * 2 ** (facts.rounds - 1)
    assert facts.vector_depth == 10 * 2 ** (facts.rounds - 1)
    assert 3 <= facts.scored <= facts.bm25_depth + facts.vector_depth + 1
    assert found.switches == Switches(int8=True)
    spans = [span.name for span in found.timings]
    assert spans.count("vector") == facts.rounds
    assert certified(engine, "wren river", params, "legacy").certificate.vectors == "float32"


@pytest.mark.parametrize("method", ["weighted", "rrf"])
def test_a_query_without_a_vector_is_ranked_by_terms(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    zeros = np.zeros(engine.info.dimension, np.float32)
    monkeypatch.setattr(engine, "embed_query", lambda text: zeros)
    fusion = Fusion("rrf") if method == "rrf" else Fusion("weighted", 0.5)
    params = SearchParams(30, 2, 2, 1, fusion=fusion)
    found = certified(engine, "wren", params)
    names, _ = brute_force(engine.session(Switches(int8=True)), "wren", zeros, params, fusion)
    assert [hit.id for hit in found.hits] == names


def test_bad_requests_and_failing_legs_are_errors(
    engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidRequestError, match="got 0"):
        certified(engine, "wren", SearchParams(0))

    def fails(text: str) -> FloatArray:
        raise ZeroDivisionError(text)

    monkeypatch.setattr(engine, "embed_query", fails)
    with pytest.raises(LegFailedError, match="embed leg failed"):
        certified(engine, "wren", SearchParams(1))
