"""Runs the queries of batch jobs in a worker process, batch by batch."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Final, TypeAlias, TypeVar

from dtrag_core.api.jobs.processes import worker_name
from dtrag_core.api.jobs.records import Claimed, Outcome
from dtrag_core.api.jobs.store import JobStore
from dtrag_core.errors import InvalidRequestError, OverloadedError, SearchError

T = TypeVar("T")
Search: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Outcome]]]

_LOG: Final = logging.getLogger(__name__)
_SHARE_OF_LEASE: Final = 0.8  # the rest is for writing


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """How a worker runs jobs; times in seconds.

    Up to `size` queries are searched at a time in each of `lanes`, so that one searches while
    another writes. Without work, the store is asked every `poll_s` for what other processes
    accepted. After a refusal a lane rests as long as that asked for, up to `rest_s`. What has
    expired is dropped every `sweep_s`. When stopped, searches have `stop_s` to end.
    """

    size: int = 32
    lanes: int = 2
    poll_s: float = 0.5
    rest_s: float = 5.0
    sweep_s: float = 30.0
    stop_s: float = 5.0

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if not value > 0:
                raise InvalidRequestError(f"{setting.name} must be above 0, got {value}")


class JobRunner:
    """Claims queries from the store, has them searched, and writes what came of them.

    `search` returns for each query an answer, a problem, or a refusal that puts it back. If all of
    it raises OverloadedError, all are put back; any other error, or taking longer than the lease,
    counts against each, so that they are tried alone and at last given up. `clock` in seconds,
    monotonic.
    """

    def __init__(
        self,
        store: JobStore,
        search: Search,
        settings: RunnerSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._search = search
        self._settings = settings or RunnerSettings()
        self._clock = clock
        self._worker = worker_name()
        self._thread = ThreadPoolExecutor(1, "jobs")
        self._news = asyncio.Event()
        self._stopped = asyncio.Event()
        self._lanes: list[asyncio.Task[None]] = []
        self._sweep_at = clock()

    def start(self) -> None:
        """Begin to run jobs on the running event loop."""
        if not self._lanes and not self._stopped.is_set():
            names = [f"jobs-{lane}" for lane in range(self._settings.lanes)]
            self._lanes = [asyncio.create_task(self._run(), name=name) for name in names]

    def wake(self) -> None:
        """Say, on the event loop, that a job was submitted: it need not wait to be found."""
        self._news.set()

    async def stop(self) -> None:
        """Claim no more, let searches end or cancel them, and put back what was not answered."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._news.set()
        if self._lanes:
            _, late = await asyncio.wait(self._lanes, timeout=self._settings.stop_s)
            for lane in late:
                lane.cancel()
            await asyncio.gather(*self._lanes, return_exceptions=True)
        try:  # behind whatever the thread has begun, a claim of a cancelled lane included
            await self._call(self._store.release_worker, self._worker)
        finally:
            self._thread.shutdown()

    async def _run(self) -> None:
        while not self._stopped.is_set():
            self._news.clear()
            try:
                if self._clock() >= self._sweep_at:
                    await self._sweep()
                claimed = await self._call(self._store.claim, self._worker, self._settings.size)
                if not claimed:
                    await _wait(self._news, self._settings.poll_s)
                    continue
                rest_s = await self._answer(claimed)
            except OverloadedError as error:
                rest_s = error.retry_after_s
            except Exception:
                _LOG.exception("running batch jobs failed; going on in %g s", self._settings.poll_s)
                rest_s = self._settings.poll_s
            if rest_s > 0:
                await _wait(self._stopped, min(rest_s, self._settings.rest_s))

    async def _answer(self, claimed: Sequence[Claimed]) -> float:
        """Search and write; returns how many seconds to rest."""
        try:
            async with asyncio.timeout(self._store.settings.lease_s * _SHARE_OF_LEASE):
                outcomes = await self._search([one.query for one in claimed])
            if len(outcomes) != len(claimed):
                raise SearchError(f"{len(outcomes)} answers came for {len(claimed)} queries")
        except OverloadedError as error:
            await self._call(self._store.release, claimed)
            return error.retry_after_s
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled():  # the lane, and not something inside the search
                raise
            _LOG.exception("%d queries of batch jobs failed together", len(claimed))
            await self._call(self._store.release, claimed, f"{type(error).__name__}: {error}")
            return self._settings.poll_s
        await self._call(self._store.finish, claimed, outcomes)
        refused = [one.retry_after_s for one in outcomes if isinstance(one, OverloadedError)]
        return max(refused, default=0.0)

    async def _sweep(self) -> None:
        more = await self._call(self._store.sweep)
        self._sweep_at = self._clock() + (0.0 if more else self._settings.sweep_s)

    async def _call(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
