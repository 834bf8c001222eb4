"""Computing batches of searches on threads, off the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson

from dtrag_core.api.apart import iterate_apart
from dtrag_core.api.metrics import ServiceMetrics
from dtrag_core.engines.base import Session
from dtrag_core.errors import DeadlineExceededError
from dtrag_core.index.chunk_store import chunk_record
from dtrag_core.optimization.batches import Request
from dtrag_core.search.batch import BatchRequest
from dtrag_core.search.dao import SearchDAO
from dtrag_core.search.ranked import Ranked, with_scores
from dtrag_core.search.reading import Ran
from dtrag_core.types import IdArray, Mode, SearchParams, Span

_THREADS: Final = 32  # all but those of the batches that run are there for searches that hang


@dataclass(frozen=True, slots=True)
class Wanted:
    """All of a search but its query; equal ones with equal queries are the same search.

    `content` is what is searched: who has seen a write acknowledged is not given what was searched
    before it.
    """

    params: SearchParams
    mode: Mode
    allow_degraded: bool
    content: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept and sent of a result: its hits as JSON, and how it ran.

    `timings` are for the metrics, once.
    """

    hits: bytes
    mode: Mode
    degraded: bool
    plan: str
    timings: tuple[Span, ...]

    def to_json(self, *, from_cache: bool, took_ms: float) -> bytes:
        """Return the whole answer."""
        return orjson.dumps(
            {
                "hits": orjson.Fragment(self.hits),
                "mode": self.mode,
                "degraded": self.degraded,
                "from_cache": from_cache,
                "plan": self.plan,
                "took_ms": took_ms,
            }
        )


class ReadingJson:
    """Makes answers of the chunks' records, which are JSON already."""

    def read(self, session: Session, ids: IdArray) -> Sequence[bytes]:
        """Return these chunks' records."""
        return session.records(ids)

    def answer(self, ranked: Ranked, shown: Sequence[bytes], ran: Ran) -> Answer:
        """Return the answer to one search."""
        hits = [_hit(*row) for row in with_scores(ranked, shown)]
        return Answer(b"[%b]" % b",".join(hits), ran.mode, ran.degraded, ran.plan, ran.timings)


class BatchComputing:
    """Computes batches on a thread; one that hangs is given up after `hang_s` seconds.

    Its thread is then left to its fate and another one serves the next batch: the breakers of the
    legs see to it that there are not many of those.

    For `patience_s` the event loop stands still for a batch. Where a process has but one core, the
    loop could only take its thread's time and hand the interpreter's lock to and fro.
    """

    def __init__(
        self, dao: SearchDAO, metrics: ServiceMetrics, hang_s: float, patience_s: float = 0.0
    ) -> None:
        self._dao = dao
        self._search = dao.batches(ReadingJson())
        self._metrics = metrics
        self._hang_s = hang_s
        self._patience_s = patience_s
        self._threads = ThreadPoolExecutor(_THREADS, "batch")

    async def batch(self, requests: Sequence[Request[Wanted]]) -> Sequence[Answer | Exception]:
        """Return an answer or an error for each request."""
        done = self._threads.submit(self._compute, requests)
        if self._patience_s and not wait((done,), self._patience_s).not_done:
            return done.result()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(done), self._hang_s)
        except TimeoutError:
            raise DeadlineExceededError(
                f"the search did not end within {self._hang_s:g} s; a leg may hang"
            ) from None

    async def stream(self, query: str, wanted: Wanted) -> AsyncGenerator[bytes, None]:
        """Yield the hits of a search, parts of lines of JSON that fit the byte budget; and the end.

        Raises as `SearchDAO.stream_search`.
        """
        search = partial(
            self._dao.stream_search, query, wanted.params, allow_degraded=wanted.allow_degraded
        )
        hits, degraded = 0, False
        async with aclosing(iterate_apart(search, self._threads)) as parts:
            async for part in parts:
                hits, degraded = hits + len(part.hits), part.degraded
                yield b"".join(
                    _hit(hit.rank, hit.score, hit.bm25, hit.cosine, chunk_record(hit.chunk)) + b"\n"
                    for hit in part.hits
                )
        yield orjson.dumps({"end": True, "hits": hits, "degraded": degraded}) + b"\n"

    def close(self) -> None:
        """Wait for nothing that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _compute(self, requests: Sequence[Request[Wanted]]) -> Sequence[Answer | Exception]:
        self._metrics.batch(len(requests))
        answers = self._search([_batch_request(request) for request in requests])
        found = [answer for answer in answers if isinstance(answer, Answer)]
        # Those that were computed together share their timings.
        for timings in {id(answer.timings): answer.timings for answer in found}.values():
            self._metrics.spans(timings)
        return answers


def _batch_request(request: Request[Wanted]) -> BatchRequest:
    wanted = request.params
    return BatchRequest(request.query, wanted.params, wanted.mode, wanted.allow_degraded)


def _hit(rank: int, score: float, bm25: float, cosine: float, record: bytes) -> bytes:
    """Return a hit as JSON: what is given, and then what stands in the chunk's record."""
    own = orjson.dumps({"rank": rank, "score": score, "bm25": bm25, "cosine": cosine})
    return b"%b,%b" % (own[:-1], record[1:])
