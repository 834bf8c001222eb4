"""A search over several cores: legs at the same time, in parts, both, or beside other searches."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

from dtrag_core.optimization.core_threads import CoreThreads
from dtrag_core.optimization.job_list import Job, JobList
from dtrag_core.optimization.legs import (
    LegParams,
    LegSession,
    LegsOutcome,
    QueryEmbedding,
    ShardedSession,
    legs_in_turn,
    resolved,
    timed,
)
from dtrag_core.optimization.plans import Plan
from dtrag_core.types import Candidates, Span

Call = Callable[[], Candidates]
Spans = tuple[Span, ...]


async def run_apart(
    session: LegSession,
    query: str,
    query_embedding: QueryEmbedding,
    params: LegParams,
    pool: ThreadPoolExecutor,
) -> LegsOutcome:
    """Search in turn on a thread of the pool, and leave this one to other searches meanwhile.

    Returns or raises as `run_overlapped`.
    """
    spans: Spans = ()
    if isinstance(query_embedding, Awaitable):
        query_embedding, spans = await resolved(query_embedding)
    search = pool.submit(legs_in_turn, session, query, query_embedding, params, spans)
    try:
        return await asyncio.wrap_future(search)
    except asyncio.CancelledError:
        if not search.cancel():
            wait([search])
        raise


async def run_overlapped(
    session: LegSession,
    query: str,
    query_embedding: QueryEmbedding,
    params: LegParams,
    threads: CoreThreads,
) -> LegsOutcome:
    """Search by BM25 on a helper while the calling thread embeds and searches by vector.

    What the helper has not begun when the calling thread is done, that does. Returns or raises only
    when no job runs any more; a failure is a LegFailedError.
    """
    terms: Call = partial(session.bm25_leg, query, params.bm25_topk, params.mask)
    with JobList(threads) as jobs:
        bm25 = jobs.add("bm25", [terms], helpers=1)
        embedding, embed_spans = await resolved(query_embedding)
        near: Call = partial(session.vector_leg, embedding, params.vector_topk, params.mask)
        vector = jobs.add("vector", [near], helpers=0, first=True)
        jobs.work()
    found, nearest = bm25[0].result(), vector[0].result()
    spans = (*_spans(bm25), *embed_spans, *_spans(vector))
    return LegsOutcome(found, nearest, embedding, spans, _at_once(spans), Plan.OVERLAPPED.value)


async def run_sharded(
    session: ShardedSession,
    query: str,
    query_embedding: QueryEmbedding,
    params: LegParams,
    threads: CoreThreads,
    plan: Plan,
    *,
    vector_first: bool,
) -> LegsOutcome:
    """Split each leg over the cores: one leg after the other, or overlapped if the plan says so.

    Overlapped, the calling thread embeds while helpers begin with BM25, then all take what is left.
    `vector_first`: the parts of the vector leg go before those of BM25 still waiting (with the
    longer leg first, the cores end closer together). Returns or raises as `run_overlapped`.
    """
    cores, depths, mask = threads.count, (params.bm25_topk, params.vector_topk), params.mask
    with JobList(threads) as jobs:
        parts, split_span = timed("bm25", session.bm25_shards, query, depths[0], mask, cores)
        bm25 = jobs.add("bm25", parts, helpers=cores - 1)
        if not plan.overlaps:
            jobs.work()
        embedding, embed_spans = await resolved(query_embedding)
        parts, cut_span = timed("vector", session.vector_shards, embedding, depths[1], mask, cores)
        vector = jobs.add("vector", parts, helpers=cores - 1, first=vector_first)
        jobs.work()
    found, found_span = timed("bm25", session.merge, [job.result() for job in bm25], depths[0])
    near, near_span = timed("vector", session.merge, [job.result() for job in vector], depths[1])
    spans = (split_span, *_spans(bm25), found_span, *embed_spans)
    spans += (cut_span, *_spans(vector), near_span)
    return LegsOutcome(found, near, embedding, spans, _at_once(spans), plan.value)


def _spans(jobs: Sequence[Job]) -> Spans:
    return tuple(job.span for job in jobs if job.span is not None)


def _at_once(spans: Spans) -> bool:
    """Return whether BM25 ran while the query was embedded or searched by vector."""
    terms = [span for span in spans if span.name == "bm25"]
    return any(
        one.start_ns < other.end_ns and other.start_ns < one.end_ns
        for other in spans
        if other.name != "bm25"
        for one in terms
    )
