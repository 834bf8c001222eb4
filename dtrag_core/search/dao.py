"""Hybrid search, legacy and optimised side by side."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from threading import get_ident

import numpy as np

from dtrag_core.engines.base import Engine, Session
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.optimization.circuit_breaker import CircuitBreaker
from dtrag_core.optimization.legs import (
    LegParams,
    LegsOutcome,
    QueryEmbedding,
    run_in_turn,
    timed,
)
from dtrag_core.optimization.memory_optimizer import stream_slices
from dtrag_core.search.batch import BatchSearch
from dtrag_core.search.cache import SingleFlightCache
from dtrag_core.search.certified import CertifiedResult, certified_ranking
from dtrag_core.search.ranked import STREAM_ABOVE_BYTES, Ranked, check_budget, hits_of, rank
from dtrag_core.search.reading import A, C, Reading, ReadingHits
from dtrag_core.search.request import (
    FiltersLike,
    SearchRequest,
    normalize_request,
    parse_filters,
)
from dtrag_core.types import (
    LEGACY,
    OPTIMIZED,
    FloatArray,
    Fusion,
    Hit,
    Mode,
    SearchParams,
    SearchResult,
    Span,
    Switches,
)


@dataclass(frozen=True, slots=True)
class SearchCaches:
    """The caches of one DAO: whole results, and query embeddings."""

    results: SingleFlightCache[SearchResult]
    embeddings: SingleFlightCache[FloatArray]


@dataclass(frozen=True, slots=True)
class HitPart:
    """Some of the hits of a streamed search, in order; `degraded` as of a `SearchResult`."""

    hits: tuple[Hit, ...]
    degraded: bool


class SearchDAO:
    """Searches one engine on the legacy or the optimised path; the caller says which.

    `switches` are those of the optimised path, so that each optimisation can be measured alone.
    `caches` is None (off) unless asked for, and serves `hybrid_search` on the optimised path.
    `search_batch` answers many requests at once, without caches, on the calling thread; `breakers`
    of its legs and of streamed searches are as `BatchSearch` takes them.
    """

    def __init__(
        self,
        engine: Engine,
        executor: AsyncExecutionOptimizer,
        *,
        switches: Switches = OPTIMIZED,
        caches: SearchCaches | None = None,
        breakers: Mapping[str, CircuitBreaker] | None = None,
    ) -> None:
        self.engine = engine
        self.executor = executor
        self.switches = switches
        self.caches = caches
        self.breakers = breakers or {}
        self.search_batch = self.batches(ReadingHits())

    def batches(self, reading: Reading[C, A]) -> BatchSearch[C, A]:
        """Return what answers many requests at once, as `search_batch`, with answers of its own."""
        budget = self.executor.byte_budget
        return BatchSearch(self.engine, self.switches, budget, reading, self.breakers)

    async def hybrid_search(
        self,
        query: str,
        filters: FiltersLike = None,
        topk: int = 5,
        bm25_topk: int = 12,
        vector_topk: int = 12,
        rerank_candidates: int = 50,
        *,
        mode: Mode = "optimized",
        fusion: Fusion | None = None,
    ) -> SearchResult:
        """Return the `topk` best chunks by both legs.

        `filters`: `canonical_in` (paths; each matches its subtree) and `doc_type`. `bm25_topk` and
        `vector_topk` are the legs' depths (raised to `topk`), `rerank_candidates` caps the union
        whose exact scores are completed. `fusion` overrides the default chosen at build.

        Raises InvalidRequestError for a request that cannot be, such as a `topk` above the corpus
        (where chunks were deleted since it was not, there are fewer hits), LegFailedError if a leg
        fails, MemoryBudgetError if the texts would not fit (stream_search does not hold them all).
        """
        params = SearchParams(
            topk, bm25_topk, vector_topk, rerank_candidates, parse_filters(filters), fusion
        )
        session = self.engine.session(LEGACY if mode == "legacy" else self.switches)
        request = _normalize(session, query, params, mode)
        if mode == "legacy":
            return await self._execute_legacy_hybrid_search(session, request)
        if self.caches is None:
            return await self._execute_optimized_hybrid_search(session, request)
        compute = partial(self._execute_optimized_hybrid_search, session, request)
        key = (session.info.content_hash, self.switches, request)
        result, source = await self.caches.results.get_or_compute(key, compute)
        return result if source == "miss" else replace(result, from_cache=True, timings=())

    async def certified_search(
        self, query: str, params: SearchParams, *, mode: Mode = "optimized"
    ) -> CertifiedResult:
        """Return the `topk` best chunks of the full corpus, and what proving that took.

        The legs start from the depths in `params` and are deepened as far as it takes;
        `rerank_candidates` limits nothing. Vectors are those of the mode, float32 or int8 codes,
        and all of them are searched, whatever `switches.ann` says; the legs run in turn, without
        the caches. Raises as `hybrid_search` does.
        """
        switches = LEGACY if mode == "legacy" else Switches(int8=self.switches.int8)
        session = self.engine.session(switches)
        request = _normalize(session, query, params, mode)
        embed = partial(self.engine.embed_query, request.query)
        ranked, certificate, spans = certified_ranking(session, request, embed, codes=switches.int8)
        hits, fetch_span = await self._hits(session, ranked)
        return CertifiedResult(
            hits, mode, switches, False, (*spans, fetch_span), certificate=certificate
        )

    async def search_ids(self, query: str, params: SearchParams) -> tuple[str, ...]:
        """Return the ids alone of the best chunks of an optimised search; no text is read."""
        session = self.engine.session(self.switches)
        request = _normalize(session, query, params, "optimized")
        ranked, _ = timed("fuse", rank, session, request, await self._legs(session, request))
        return tuple(session.names(ranked.ids))

    async def stream_search(
        self,
        query: str,
        params: SearchParams,
        *,
        allow_degraded: bool = False,
    ) -> AsyncIterator[HitPart]:
        """Yield the hits of an optimised search in order, in parts that fit the byte budget.

        Only ids and scores of all hits are held; texts are read part by part. The legs run in turn,
        as the breakers let them; with `allow_degraded` the hits are rather those of one leg than
        none if the other fails. There is a part even if there is no hit. Raises LegFailedError, or
        CircuitOpenError for a leg that is left alone.
        """
        session = self.engine.session(self.switches)
        request = _normalize(session, query, params, "optimized")
        mask = session.compile_filters(request.params.filters)
        found = self.search_batch.rank_alone(session, request, mask, allow_degraded=allow_degraded)
        if not len(found.ranked.ids):
            yield HitPart((), found.degraded)
        read = partial(self._parts, session)
        async for hits in self.executor.execute_with_memory_optimization(read, found.ranked):
            yield HitPart(hits, found.degraded)

    async def _execute_optimized_hybrid_search(
        self, session: Session, request: SearchRequest
    ) -> SearchResult:
        legs = await self._legs(session, request)
        ranked, fused_span = timed("fuse", rank, session, request, legs)
        hits, fetch_span = await self._hits(session, ranked)
        spans = (*legs.spans, fused_span, fetch_span)
        return SearchResult(hits, "optimized", self.switches, legs.overlapped, spans, legs.plan)

    async def _execute_legacy_hybrid_search(
        self, session: Session, request: SearchRequest
    ) -> SearchResult:
        embed = partial(self.engine.embed_query, request.query)
        legs = await run_in_turn(session, request.query, embed, _leg_params(session, request))
        ranked, fused_span = timed("fuse", rank, session, request, legs)
        hits, fetch_span = timed("fetch", _fetch, session, ranked, slice(None))
        spans = (*legs.spans, fused_span, fetch_span)
        return SearchResult(hits, "legacy", LEGACY, False, spans)

    async def _legs(self, session: Session, request: SearchRequest) -> LegsOutcome:
        embed = partial(self.engine.embed_query, request.query)
        embedding: QueryEmbedding = embed
        if self.caches is not None:
            embedding = self._cached_embedding(self.caches.embeddings, request, embed)
        parallel = self.switches.overlap or self.switches.shards
        run = self.executor.execute_parallel_search if parallel else run_in_turn
        return await run(session, request.query, embedding, _leg_params(session, request))

    async def _cached_embedding(
        self,
        cache: SingleFlightCache[FloatArray],
        request: SearchRequest,
        embed: Callable[[], FloatArray],
    ) -> FloatArray:
        async def compute() -> FloatArray:
            return embed()

        key = (self.engine.info.content_hash, request.query)
        return (await cache.get_or_compute(key, compute))[0]

    async def _hits(self, session: Session, ranked: Ranked) -> tuple[tuple[Hit, ...], Span]:
        """Read the texts, in parts if they are large; MemoryBudgetError if they are too large."""
        size = check_budget(session, ranked, self.executor.byte_budget)
        if size > STREAM_ABOVE_BYTES:
            read = partial(self._parts, session)
            stream = self.executor.execute_with_memory_optimization(read, ranked)
            started = time.perf_counter_ns()
            hits = tuple([hit async for part in stream for hit in part])
            return hits, Span("fetch", started, time.perf_counter_ns(), get_ident())
        return timed("fetch", _fetch, session, ranked, slice(None))

    def _parts(self, session: Session, ranked: Ranked) -> Iterator[tuple[Hit, ...]]:
        sizes = np.array(session.text_bytes(ranked.ids), np.int64)
        part = max(STREAM_ABOVE_BYTES, int(sizes.max(initial=0)))
        budget = min(self.executor.byte_budget, part)
        return (
            timed("fetch", _fetch, session, ranked, part)[0]
            for part in stream_slices(sizes, budget)
        )


def _normalize(session: Session, query: str, params: SearchParams, mode: Mode) -> SearchRequest:
    return normalize_request(query, params, mode, session.info)


def _leg_params(session: Session, request: SearchRequest) -> LegParams:
    params = request.params
    mask = session.compile_filters(params.filters)
    return LegParams(params.bm25_topk, params.vector_topk, mask)


def _fetch(session: Session, ranked: Ranked, part: slice) -> tuple[Hit, ...]:
    return hits_of(ranked, session.fetch(ranked.ids[part]), part.start or 0)
