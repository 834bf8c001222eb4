"""The legs of a hybrid search: what they search with, how they are run and timed."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from threading import get_ident
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable

from dtrag_core.errors import LegFailedError
from dtrag_core.optimization.plans import Plan
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


@runtime_checkable
class ShardedSession(LegSession, Protocol):
    """A session whose legs can be split into parts that run at the same time."""

    def bm25_shards(
        self, query: str, depth: int, mask: Mask | None, shards: int
    ) -> Sequence[Callable[[], Candidates]]:
        """Return at most `shards` searches by terms, each of its own part of the chunks."""
        ...

    def vector_shards(
        self, vector: FloatArray, depth: int, mask: Mask | None, shards: int
    ) -> Sequence[Callable[[], Candidates]]:
        """Return at most `shards` searches by vector, each of its own part of the chunks."""
        ...

    def merge(self, parts: Sequence[Candidates], depth: int) -> Candidates:
        """Return the `depth` best of what the searches of one leg found."""
        ...


@dataclass(frozen=True, slots=True)
class LegParams:
    """Depth of each leg and the chunks both may return (None: all)."""

    bm25_topk: int
    vector_topk: int
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class LegsOutcome:
    """What the legs found, the query's embedding, and how they ran.

    `spans` has one for every job of a leg, with the leg's name; `overlapped` says whether the two
    legs really ran at the same time, `plan` how they were laid out.
    """

    bm25: Candidates
    vector: Candidates
    embedding: FloatArray
    spans: tuple[Span, ...]
    overlapped: bool
    plan: str = Plan.IN_TURN.value


KnownEmbedding = FloatArray | Callable[[], FloatArray]
QueryEmbedding = KnownEmbedding | Awaitable[FloatArray]


async def run_in_turn(
    session: LegSession, query: str, query_embedding: QueryEmbedding, params: LegParams
) -> LegsOutcome:
    """Embed, search by BM25, search by vector, one after the other on this thread."""
    if isinstance(query_embedding, Awaitable):
        embedding, spans = await resolved(query_embedding)
        return legs_in_turn(session, query, embedding, params, spans)
    return legs_in_turn(session, query, query_embedding, params)


def legs_in_turn(
    session: LegSession,
    query: str,
    source: KnownEmbedding,
    params: LegParams,
    spans: tuple[Span, ...] = (),
) -> LegsOutcome:
    """Do what `run_in_turn` does, once there is nothing to await; `spans` is what went before."""
    embedding, embed_spans = embedded(source)
    found, bm25_span = timed("bm25", session.bm25_leg, query, params.bm25_topk, params.mask)
    near, vector_span = timed(
        "vector", session.vector_leg, embedding, params.vector_topk, params.mask
    )
    return LegsOutcome(
        found, near, embedding, (*spans, *embed_spans, bm25_span, vector_span), False
    )


async def resolved(source: QueryEmbedding) -> tuple[FloatArray, tuple[Span, ...]]:
    """Return the embedding: as given, or awaited or computed and then timed."""
    if isinstance(source, Awaitable):
        started = time.perf_counter_ns()
        try:
            embedding = await source
        except Exception as error:
            raise LegFailedError("embed", error) from error
        return embedding, (Span("embed", started, time.perf_counter_ns(), get_ident()),)
    return embedded(source)


def embedded(source: KnownEmbedding) -> tuple[FloatArray, tuple[Span, ...]]:
    """Return the embedding as given, or computed and then timed."""
    if callable(source):
        embedding, span = timed("embed", source)
        return embedding, (span,)
    return source, ()


def timed(leg: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, Span]:
    """Call, and return the result with the span it took; a failure becomes LegFailedError."""
    started = time.perf_counter_ns()
    try:
        result = call(*args, **kwargs)
    except Exception as error:
        raise LegFailedError(leg, error) from error
    return result, Span(leg, started, time.perf_counter_ns(), get_ident())
