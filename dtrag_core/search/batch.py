"""Many searches at once: each step is done for all of them in one call.

What a step costs beside the work itself (calls into compiled code, small arrays, threads) is paid
once a batch instead of once a search. Every search gets the answer it would get alone.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Final, Generic, TypeVar, cast

import numpy as np

from dtrag_core.engines.base import BatchSession, Engine, Session
from dtrag_core.errors import (
    DtragError,
    EmbeddingError,
    LegFailedError,
    MemoryBudgetError,
    OverloadedError,
    UsageError,
)
from dtrag_core.optimization.circuit_breaker import CircuitBreaker
from dtrag_core.optimization.legs import LegsOutcome, timed
from dtrag_core.search.ranked import Ranked, check_budget, rank, rank_by_one_leg
from dtrag_core.search.ranked_batch import rank_batch
from dtrag_core.search.reading import A, C, Ran, Reading
from dtrag_core.search.request import SearchRequest, normalize_request
from dtrag_core.types import (
    LEGACY,
    Candidates,
    Filters,
    Mask,
    Mode,
    SearchParams,
    Span,
    Switches,
)

T = TypeVar("T")

EMBED, BM25, VECTOR = LEGS = ("embed", "bm25", "vector")
PLAN: Final = "batched"
# Deeper legs are searched alone: what a batch saves is nothing beside their own cost.
_DEEP: Final = 512


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One search of a batch; its filters are in `params`.

    `allow_degraded`: rather the answer of one leg, marked as such, than none if the other fails.
    """

    query: str
    params: SearchParams
    mode: Mode = "optimized"
    allow_degraded: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    place: int
    request: SearchRequest
    mask: Mask | None
    allow_degraded: bool


@dataclass(frozen=True, slots=True)
class RankedAlone:
    """The ranking of one search; `degraded`: one leg failed, and it is by the other alone."""

    ranked: Ranked
    spans: tuple[Span, ...]
    degraded: bool


class BatchSearch(Generic[C, A]):
    """Answers batches on the calling thread; may be called from several at once.

    `reading` says what an answer is. `switches` are those of the optimised path. `breakers`, by
    leg, are asked before a leg is run and told how it went. `byte_budget` is how large the texts of
    one answer may be.
    """

    def __init__(
        self,
        engine: Engine,
        switches: Switches,
        byte_budget: int,
        reading: Reading[C, A],
        breakers: Mapping[str, CircuitBreaker] | None = None,
    ) -> None:
        self._engine = engine
        self._switches = switches
        self._byte_budget = byte_budget
        self._reading = reading
        self._breakers = breakers or {}
        self._batches: dict[type, bool] = {}

    def __call__(self, requests: Sequence[BatchRequest]) -> list[A | Exception]:
        """Return the answer to each request, in order: an answer, or the error it failed with."""
        answers: dict[int, A | Exception] = {}
        for mode in dict.fromkeys(request.mode for request in requests):
            session = self._engine.session(LEGACY if mode == "legacy" else self._switches)
            alone: list[_Asked] = []
            together: defaultdict[Filters | None, list[_Asked]] = defaultdict(list)
            compiled = cache(session.compile_filters)
            for place, request in enumerate(requests):
                if request.mode != mode:
                    continue
                try:
                    normal = normalize_request(request.query, request.params, mode, session.info)
                    mask = compiled(normal.params.filters)
                except DtragError as error:
                    answers[place] = error
                    continue
                asked = _Asked(place, normal, mask, request.allow_degraded)
                (together[normal.params.filters] if _joins(normal) else alone).append(asked)
            for group in together.values():
                batch = self._batch_session(session) if len(group) > 1 else None
                if batch is None or not self._together(batch, group, answers):
                    alone += group
            for asked in alone:
                answers[asked.place] = self._alone(session, asked)
        return [answers[place] for place in range(len(requests))]

    def _batch_session(self, session: Session) -> BatchSession | None:
        """Return the session as one that takes batches, if it does; asked once a class."""
        kind = type(session)
        if kind not in self._batches:
            # Of a protocol with properties, only an instance can be asked, at some cost.
            self._batches[kind] = isinstance(session, BatchSession)
        return cast(BatchSession, session) if self._batches[kind] else None

    def _together(
        self, session: BatchSession, group: Sequence[_Asked], answers: dict[int, A | Exception]
    ) -> bool:
        """Answer searches with the same filters; False if a leg failed, perhaps for one of them."""
        requests = [asked.request for asked in group]
        try:
            ranked, spans = self._ranked(session, requests, group[0].mask)
        except (LegFailedError, OverloadedError):
            return False
        fitting = []
        for asked, each in zip(group, ranked, strict=True):
            try:
                check_budget(session, each, self._byte_budget)
            except MemoryBudgetError as error:
                answers[asked.place] = error
            else:
                fitting.append((asked, each))
        ids = np.concatenate([np.zeros(0, np.int32), *(each.ids for _, each in fitting)])
        try:
            shown, span = timed("fetch", self._reading.read, session, ids)
        except LegFailedError:
            return False
        timings = (*spans, span)
        first = 0
        for asked, each in fitting:
            last = first + len(each.ids)
            ran = Ran(asked.request.mode, self._switches, timings, PLAN, False)
            answers[asked.place] = self._reading.answer(each, shown[first:last], ran)
            first = last
        return True

    def _ranked(
        self, session: BatchSession, requests: Sequence[SearchRequest], mask: Mask | None
    ) -> tuple[list[Ranked], list[Span]]:
        queries = [request.query for request in requests]
        params = [request.params for request in requests]
        spans: list[Span] = []
        run = partial(self._leg, spans, len(requests))
        vectors = run(EMBED, partial(self._engine.embed_queries, queries))
        depths = np.array([(each.bm25_topk, each.vector_topk) for each in params], np.int64)
        found = run(BM25, partial(session.bm25_batch, queries, depths[:, 0].copy(), mask))
        near = run(VECTOR, partial(session.vector_batch, vectors, depths[:, 1].copy(), mask))
        ranked, span = timed("fuse", rank_batch, session, requests, queries, vectors, found, near)
        return ranked, [*spans, span]

    def rank_alone(
        self, session: Session, request: SearchRequest, mask: Mask | None, *, allow_degraded: bool
    ) -> RankedAlone:
        """Rank as if there were no other search; by one leg if allowed and the other failed.

        Raises LegFailedError, or CircuitOpenError for a leg that is left alone.
        """
        spans: list[Span] = []
        run = partial(self._attempt, spans)
        query, params = request.query, request.params
        vector = run(EMBED, partial(self._engine.embed_query, query))
        found = run(BM25, partial(session.bm25_leg, query, params.bm25_topk, mask))
        near: Candidates | Exception
        if isinstance(vector, Exception):
            near = vector
        else:
            near = run(VECTOR, partial(session.vector_leg, vector, params.vector_topk, mask))
        failed = [leg for leg in (found, near) if isinstance(leg, Exception)]
        if len(failed) == 2 or (failed and not allow_degraded):
            raise failed[0]
        if (
            isinstance(found, Exception)
            or isinstance(near, Exception)
            or isinstance(vector, Exception)
        ):
            return RankedAlone(rank_by_one_leg(session, request, found, near), tuple(spans), True)
        legs = LegsOutcome(found, near, vector, (), overlapped=False)
        ranked, span = timed("fuse", rank, session, request, legs)
        return RankedAlone(ranked, (*spans, span), False)

    def _alone(self, session: Session, asked: _Asked) -> A | Exception:
        try:
            found = self.rank_alone(
                session, asked.request, asked.mask, allow_degraded=asked.allow_degraded
            )
            check_budget(session, found.ranked, self._byte_budget)
            shown, span = timed("fetch", self._reading.read, session, found.ranked.ids)
        except DtragError as error:
            return error
        mode = asked.request.mode
        switches = LEGACY if mode == "legacy" else self._switches
        ran = Ran(mode, switches, (*found.spans, span), "in_turn", found.degraded)
        return self._reading.answer(found.ranked, shown, ran)

    def _attempt(self, spans: list[Span], leg: str, call: Callable[[], T]) -> T | Exception:
        try:
            return self._leg(spans, 1, leg, call)
        except (LegFailedError, OverloadedError) as error:
            return error

    def _leg(self, spans: list[Span], searches: int, leg: str, call: Callable[[], T]) -> T:
        """Run a leg if its breaker admits it; add its span.

        A batch that fails says nothing yet: each of its searches is tried alone after it.
        """
        breaker = self._breakers.get(leg)
        permit = None if breaker is None else breaker.admit(searches)
        try:
            result, span = timed(leg, call)
        except LegFailedError as error:
            if permit is not None:
                if isinstance(error.__cause__, UsageError | EmbeddingError):
                    permit.succeed()  # the request's fault, not the leg's
                elif searches > 1:
                    permit.abandon()
                else:
                    permit.fail()
            raise
        except BaseException:
            if permit is not None:
                permit.abandon()
            raise
        if permit is not None:
            permit.succeed()
        spans.append(span)
        return result


def _joins(request: SearchRequest) -> bool:
    """Return whether a batch answers this request as the same search alone would."""
    params = request.params
    shallow = params.bm25_topk + params.vector_topk <= _DEEP
    return request.mode == "optimized" and shallow and request.fusion.method == "weighted"
