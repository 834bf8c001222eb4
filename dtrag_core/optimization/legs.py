"""The legs of a hybrid search: what they search with, how they are run and timed."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from threading import get_ident
from typing import ParamSpec, Protocol, TypeVar

from dtrag_core.errors import LegFailedError
from dtrag_core.types import Candidates, FloatArray, Mask, Span

P = ParamSpec("P")
T = TypeVar("T")


class LegSession(Protocol):
    """What the legs search with; each call gets a connection of its own where there are any."""

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        """Search by terms."""
        ...

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        """Search by vector."""
        ...


@dataclass(frozen=True, slots=True)
class LegParams:
    """Depth of each leg and the chunks both may return (None: all)."""

    bm25_topk: int
    vector_topk: int
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class LegsOutcome:
    """What the legs found, the query's embedding, how long each step took, and how they ran."""

    bm25: Candidates
    vector: Candidates
    embedding: FloatArray
    spans: tuple[Span, ...]
    overlapped: bool


QueryEmbedding = FloatArray | Awaitable[FloatArray] | Callable[[], FloatArray]


async def run_in_turn(
    session: LegSession, query: str, query_embedding: QueryEmbedding, params: LegParams
) -> LegsOutcome:
    """Embed, search by BM25, search by vector, one after the other on this thread."""
    if isinstance(query_embedding, Awaitable):
        embedding, embed_spans = await awaited(query_embedding)
    else:
        embedding, embed_spans = embedded(query_embedding)
    found, bm25_span = run_bm25(session, query, params)
    near, vector_span = run_vector(session, embedding, params)
    return LegsOutcome(found, near, embedding, (*embed_spans, bm25_span, vector_span), False)


def run_bm25(session: LegSession, query: str, params: LegParams) -> tuple[Candidates, Span]:
    """Search by BM25, timed."""
    return timed("bm25", session.bm25_leg, query, params.bm25_topk, params.mask)


def run_vector(
    session: LegSession, embedding: FloatArray, params: LegParams
) -> tuple[Candidates, Span]:
    """Search by vector, timed."""
    return timed("vector", session.vector_leg, embedding, params.vector_topk, params.mask)


def embedded(
    source: FloatArray | Callable[[], FloatArray],
) -> tuple[FloatArray, tuple[Span, ...]]:
    """Return the embedding, computed and timed if a function was given."""
    if callable(source):
        embedding, span = timed("embed", source)
        return embedding, (span,)
    return source, ()


async def awaited(source: Awaitable[FloatArray]) -> tuple[FloatArray, tuple[Span, ...]]:
    """Wait for the embedding, timed."""
    started = time.perf_counter_ns()
    try:
        embedding = await source
    except Exception as error:
        raise LegFailedError("embed", error) from error
    return embedding, (Span("embed", started, time.perf_counter_ns(), get_ident()),)


def timed(leg: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, Span]:
    """Call, and return the result with the span it took; a failure becomes LegFailedError."""
    started = time.perf_counter_ns()
    try:
        result = call(*args, **kwargs)
    except Exception as error:
        raise LegFailedError(leg, error) from error
    return result, Span(leg, started, time.perf_counter_ns(), get_ident())
