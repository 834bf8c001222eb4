"""Changing the index: one writer at a time over all workers, acknowledged when it is durable."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dtrag_core.errors import IndexBusyError
from dtrag_core.index.manifest import Manifest
from dtrag_core.index.writer import IndexWriter
from dtrag_core.types import Chunk

_TRY_EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Written:
    """A durable change: how many chunks it touched, and the manifest it made."""

    changed: int
    manifest: Manifest


class ChunkWriting:
    """Changes one index on a thread of its own.

    The writer is opened for each change, since only one process can have it; who finds it taken
    tries until the deadline, then raises IndexBusyError. Segments are merged after the change is
    acknowledged, one merge a change. `written` is called after each, to search it from then on.
    """

    def __init__(
        self,
        directory: Path,
        written: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._written = written
        self._clock = clock
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, "writing")

    async def add(self, chunks: Sequence[Chunk], deadline: float) -> Written:
        """Add chunks, each in the place of the one with its id; raises as `IndexWriter.add`."""

        def change(writer: IndexWriter) -> Written:
            return Written(len(chunks), writer.add(chunks))

        return await self._change(change, deadline)

    async def delete(self, ids: Sequence[str], deadline: float) -> Written:
        """Delete the chunks with these ids; `changed` is how many there were."""

        def change(writer: IndexWriter) -> Written:
            return Written(writer.delete(ids), writer.manifest)

        return await self._change(change, deadline)

    def close(self) -> None:
        """Finish the change that runs, and take no more."""
        self._closing.set()
        self._thread.shutdown()

    async def _change(self, change: Callable[[IndexWriter], Written], deadline: float) -> Written:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Written] = loop.create_future()

        def settle(result: Written | Exception) -> None:
            if done.done():
                return
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)

        def work() -> None:
            try:
                with self._writer(deadline) as writer:
                    result = change(writer)
                    self._written()
                    loop.call_soon_threadsafe(settle, result)
                    writer.compact()
            except Exception as error:
                loop.call_soon_threadsafe(settle, error)

        self._thread.submit(work)
        return await done

    @contextmanager
    def _writer(self, deadline: float) -> Iterator[IndexWriter]:
        while True:
            try:
                writer = IndexWriter(self._directory)
                break
            except IndexBusyError:
                if self._clock() >= deadline or self._closing.wait(_TRY_EVERY_S):
                    raise
        with writer:
            yield writer
