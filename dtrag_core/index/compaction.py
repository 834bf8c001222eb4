"""Merging segments in the background while an index is written."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from dtrag_core.index.writer import IndexWriter


class Compaction:
    """Merges a writer's segments on a thread of its own for as long as the context lasts.

    An error of a merge is raised by the next `wake` or at the end of the context: nothing is lost
    by it, there are only more segments than need be.
    """

    def __init__(self, writer: IndexWriter) -> None:
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, "compaction")
        self._running: Future[None] | None = None

    def wake(self) -> None:
        """Look for segments to merge; to be called after every change."""
        if self._running is not None and self._running.done():
            finished, self._running = self._running, None
            finished.result()
        if self._running is None:
            self._running = self._thread.submit(self._writer.compact_all)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        if self._running is not None and error is None:
            self._running.result()
