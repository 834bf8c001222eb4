"""The service itself: owns the index, the batches, the jobs, the writer and what guards them."""

import asyncio
import logging
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from dtrag_core.api.batch_jobs import BatchJobs
from dtrag_core.api.cache import AnswerCache
from dtrag_core.api.compute import Answer, BatchComputing, Wanted
from dtrag_core.api.guards import guards, leg_breakers
from dtrag_core.api.keys import MAX_KEYS, KeyRing
from dtrag_core.api.metrics import ServiceMetrics
from dtrag_core.api.observing import observe
from dtrag_core.api.schemas import BatchQuery, FiltersBody, Ready, SearchBody
from dtrag_core.api.settings import ServiceSettings
from dtrag_core.api.writing import ChunkWriting
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.optimization.batch_processor import BatchSearchProcessor, BatchSettings, Request
from dtrag_core.optimization.core_threads import allowed_cores
from dtrag_core.optimization.shared_buckets import SharedBuckets
from dtrag_core.search.dao import SearchDAO
from dtrag_core.search.request import parse_filters
from dtrag_core.types import Filters, SearchParams
from dtrag_core.workbench import open_dao

JOB_PRIORITY: Final = -1  # below a search that somebody waits for
_OBSERVE_EVERY_S: Final = 1.0
_PATIENCE_S: Final = 0.05
_MOST_KEPT_BYTES: Final = 64 << 10  # answers are kept by number: large ones would fill the memory
_LOG: Final = logging.getLogger(__name__)


class Service:
    """Opens everything; `start` and `close` belong to the event loop that answers requests.

    `dao` is given by tests that break it. Raises the IndexDirectoryError family if the index cannot
    be opened, DataError for a file of keys that is none.
    """

    def __init__(self, settings: ServiceSettings, dao: SearchDAO | None = None) -> None:
        self.settings = settings
        self.ring = None if settings.keys is None else KeyRing(settings.keys)
        with ExitStack() as stack:
            shared = settings.shared or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.buckets = SharedBuckets(shared / "buckets", MAX_KEYS)
            stack.callback(self.buckets.close)
            self.dao = dao or open_dao(
                settings.index, breakers=leg_breakers(), byte_budget=settings.answer_bytes
            )
            stack.callback(self.dao.engine.close)
            stack.callback(self.dao.executor.close)
            if isinstance(self.dao.engine, EmbeddedEngine):
                self.dao.engine.warm_up_batches()
            self.metrics = ServiceMetrics()
            self.controller = guards(settings.capacity)
            self.cache: AnswerCache[Answer] = AnswerCache(settings.cache, settings.cache_s)
            self.computing = BatchComputing(
                self.dao, self.metrics, settings.hang_s, _patience_s(settings.workers)
            )
            stack.callback(self.computing.close)
            self.processor: BatchSearchProcessor[Wanted, Answer] = BatchSearchProcessor(
                self.computing.batch, BatchSettings(size=settings.batch_size)
            )
            self.jobs = BatchJobs(settings.job_file, self._search_many)
            self.writing = ChunkWriting(settings.index, self._refresh)
            stack.callback(self.writing.close)
            self._resources = stack.pop_all()
        self._observing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with batch jobs, and with telling the metrics how things stand."""
        self.jobs.start()
        observe(self)
        self._observing = asyncio.create_task(self._observe())

    async def close(self) -> None:
        """Answer what was accepted, then let go of everything."""
        if self._observing is not None:
            self._observing.cancel()
            with suppress(asyncio.CancelledError):
                await self._observing
        await self.jobs.stop()
        await self.processor.close()
        self._resources.close()

    async def search(self, body: SearchBody, deadline: float) -> bytes:
        """Return the answer as JSON; raises what the search raises."""
        started = time.perf_counter()
        wanted = self.wanted(body)
        if not self.cache.on:
            answer = await self._computed(body.query, wanted, deadline)
            return answer.to_json(from_cache=False, took_ms=_ms_since(started))
        key = (body.query, wanted)
        known = self.cache.get(key)
        if known is not None:
            self.metrics.lookup("hit")
            return known.to_json(from_cache=True, took_ms=_ms_since(started))
        self.metrics.lookup("miss")
        answer = await self._computed(body.query, wanted, deadline)
        if not answer.degraded and len(answer.hits) <= _MOST_KEPT_BYTES:
            self.cache.put(key, replace(answer, timings=()))
        return answer.to_json(from_cache=False, took_ms=_ms_since(started))

    def readiness(self) -> Ready:
        """Return whether searches are answered, and what stands in the way."""
        engine = self.dao.engine
        generation, outdated = 0, None
        if isinstance(engine, EmbeddedEngine):
            generation, outdated = engine.manifest.generation, engine.outdated
        breakers = {
            name: resource.breaker.state
            for name, resource in self.controller.statistics().resources.items()
            if resource.breaker is not None
        } | {leg: breaker.state for leg, breaker in self.dao.breakers.items()}
        return Ready(
            ready=breakers["search"] != "open",
            generation=generation,
            chunks=engine.info.chunks,
            outdated=None if outdated is None else type(outdated).__name__,
            breakers=dict(breakers),
        )

    def wanted(self, body: SearchBody) -> Wanted:
        """Return what a body asks for, beside the query; `topk` is cut to the corpus."""
        params = SearchParams(
            min(body.topk, max(self.dao.engine.info.most_chunks, 1)),
            body.bm25_topk,
            body.vector_topk,
            body.rerank_candidates,
            None if body.filters is None else _filters(body.filters),
        )
        return Wanted(params, body.mode, body.allow_degraded, self._content())

    def _content(self) -> str:
        """Return what is searched now; asking for a session makes the engine look for newer."""
        return self.dao.engine.session(self.dao.switches).info.content_hash

    async def _computed(self, query: str, wanted: Wanted, deadline: float) -> Answer:
        return await self.processor.submit_search_request(query, wanted, deadline=deadline)

    async def _search_many(self, queries: Sequence[str]) -> Sequence[Answer | Exception]:
        """Return an answer or an error for each search of a job, given as JSON."""
        bodies = [BatchQuery.model_validate_json(query) for query in queries]
        return await self.processor.process_batch(
            [Request(body.query, self.wanted(body), JOB_PRIORITY) for body in bodies]
        )

    def _refresh(self) -> None:
        if isinstance(self.dao.engine, EmbeddedEngine):
            self.dao.engine.refresh()

    async def _observe(self) -> None:
        while True:
            await asyncio.sleep(_OBSERVE_EVERY_S)
            try:
                self._content()
                observe(self)
            except Exception:
                _LOG.exception("the metrics could not be brought up to date")


def _patience_s(workers: int) -> float:
    """Return how long the event loop may stand still for a batch: with cores to spare, not."""
    return _PATIENCE_S if len(allowed_cores()) <= workers else 0.0


def _filters(body: FiltersBody) -> Filters | None:
    named = {"canonical_in": body.canonical_in, "doc_type": body.doc_type}
    return parse_filters({name: values for name, values in named.items() if values is not None})


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1e3, 3)
