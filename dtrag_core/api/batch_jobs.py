"""Batch jobs as the service sees them: accepted durably, searched in between, asked about."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import orjson

from dtrag_core.api.compute import Answer
from dtrag_core.api.jobs.records import JobStatus, Outcome, Problem
from dtrag_core.api.jobs.runner import JobRunner
from dtrag_core.api.jobs.store import JobStore
from dtrag_core.api.keys import ApiKey
from dtrag_core.api.problems import logged_problem
from dtrag_core.api.schemas import BatchBody
from dtrag_core.errors import OverloadedError

P = ParamSpec("P")
T = TypeVar("T")
SearchMany = Callable[[Sequence[str]], Awaitable[Sequence[Answer | Exception]]]


class BatchJobs:
    """The job store, asked on a thread of its own, and the runner of this process."""

    def __init__(self, file: Path, search: SearchMany) -> None:
        self.store = JobStore(file)
        self._search = search
        self._runner = JobRunner(self.store, self._outcomes)
        self._thread = ThreadPoolExecutor(1, "job-store")

    def start(self) -> None:
        """Begin to run jobs, those left by earlier processes among them."""
        self._runner.start()

    async def stop(self) -> None:
        """Run no more; what is unfinished is for the next process."""
        await self._runner.stop()
        self._thread.shutdown()
        self.store.close()

    async def submit(self, body: BatchBody, key: ApiKey) -> str:
        """Return the id of a job that will be answered; raises QueueFullError."""
        queries = [search.model_dump_json() for search in body.searches()]
        submit = partial(
            self.store.submit, queries, body.priority, key.id, owner_jobs=key.jobs or None
        )
        job_id = await self._call(submit)
        self._runner.wake()
        return job_id

    async def status(self, job_id: str, key: ApiKey, offset: int, limit: int) -> bytes:
        """Return the answer about a job as JSON; raises UnknownJobError."""
        return _told(await self._call(self.store.status, job_id, key.id, offset, limit))

    async def cancel(self, job_id: str, key: ApiKey) -> bytes:
        """End a job; return the answer about it as JSON. Raises UnknownJobError."""
        return _told(await self._call(self.store.cancel, job_id, key.id))

    async def _call(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(call, *args, **kwargs))

    async def _outcomes(self, queries: Sequence[str]) -> Sequence[Outcome]:
        started = time.perf_counter()
        answers = await self._search(queries)
        took_ms = round((time.perf_counter() - started) * 1e3, 3)
        return [_outcome(answer, took_ms) for answer in answers]


def _outcome(answer: Answer | Exception, took_ms: float) -> Outcome:
    if isinstance(answer, OverloadedError):
        return answer
    if isinstance(answer, Exception):
        problem = logged_problem(answer, "a query of a batch job")
        return Problem(orjson.dumps(problem.members()).decode())
    return answer.to_json(from_cache=False, took_ms=took_ms).decode()


def _told(job: JobStatus) -> bytes:
    return orjson.dumps(
        {
            "job_id": job.job_id,
            "status": job.status,
            "completed": job.completed,
            "total": job.total,
            "results": [
                orjson.Fragment(f'{{"index":{index},{text[1:]}') for index, text in job.results
            ],
            "errors": [
                {"index": index, "problem": orjson.Fragment(text)} for index, text in job.errors
            ],
            "expires_at": job.expires_at,
        }
    )
