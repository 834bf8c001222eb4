"""The generations of an index directory: which one searches are answered from, and the next one."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from dtrag_core.engines.base import EngineInfo
from dtrag_core.errors import IndexMismatchError
from dtrag_core.index.arrays import populate
from dtrag_core.index.manifest import MANIFEST
from dtrag_core.index.segment import Part
from dtrag_core.index.snapshot import Snapshot, open_snapshot

LOOK_EVERY_NS: Final = 5_000_000
RETRY_AFTER_NS: Final = 10_000_000_000

_LOG: Final = logging.getLogger(__name__)
_Stamp = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation, opened, and what an engine says of it."""

    snapshot: Snapshot
    info: EngineInfo


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why the manifest with this stamp could not be opened, and when to try again."""

    stamp: _Stamp
    error: Exception
    retry_ns: int


class Generations:
    """Follows an index directory: opens each new generation on a thread of its own.

    `present` is replaced at one stroke; whoever reads it once has one whole generation. It stays
    when a newer one cannot be opened: `failure` is then the reason, which is logged as a warning
    once, and opening it is tried again, at once when the manifest changes, else now and then. So
    it does when another index has taken the directory's place: what is open here is whole and of
    one embedder, the other index needs an engine of its own. `clock` is monotonic, in nanoseconds.
    """

    def __init__(self, directory: Path, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._directory = directory
        self._clock = clock
        self._manifest_file = directory / MANIFEST
        self._seen = self._stamp()
        self.present = _generation(open_snapshot(directory))
        self._failure: _Failure | None = None
        self._refreshing = Lock()
        self._opener = ThreadPoolExecutor(1, "generation")
        self._opening: Future[None] | None = None
        self._look_again = 0
        self._parts: set[Part] = set()
        self._populated: set[tuple[str, Part]] = set()

    @property
    def failure(self) -> Exception | None:
        """Why the newest generation is not the present one; None if it is, or is being opened."""
        failure = self._failure
        return None if failure is None else failure.error

    def look(self) -> None:
        """Have a newer generation opened in the background if there is one; never raises for it."""
        opening = self._opening
        if opening is not None and not opening.done():
            return
        now = self._clock()
        if now < self._look_again:
            return
        self._look_again = now + LOOK_EVERY_NS
        stamp, failure = self._stamp(), self._failure
        if stamp is None or stamp == self._seen:
            return
        if failure is None or failure.stamp != stamp or failure.retry_ns <= now:
            self._opening = self._opener.submit(self._try, stamp)

    def refresh(self) -> None:
        """Have the newest generation present from now on.

        Raises the IndexDirectoryError family if it cannot be opened, IndexMismatchError if another
        index has taken the directory's place; the present one stays then.
        """
        with self._refreshing:
            seen = self._stamp()
            snapshot = open_snapshot(self._directory, self.present.snapshot)
            before, now = self.present.snapshot.manifest, snapshot.manifest
            for name in ("embedder_fingerprint", "analyzer"):
                if getattr(before, name) != getattr(now, name):
                    raise IndexMismatchError(
                        f"{self._directory} was replaced by an index with {name} "
                        f"{getattr(now, name)}, it was opened with {getattr(before, name)}; open "
                        "it again"
                    )
            for part in tuple(self._parts):
                self._populate(snapshot, part)
            self.present, self._seen, self._failure = _generation(snapshot), seen, None

    def use(self, part: Part) -> None:
        """Have a part's pages at hand, in the background, when it is used for the first time."""
        if part not in self._parts:
            self._parts.add(part)
            self._opener.submit(self._populate, self.present.snapshot, part)

    def close(self) -> None:
        """Follow the directory no longer."""
        self._opener.shutdown(cancel_futures=True)

    def _stamp(self) -> _Stamp:
        try:
            status = self._manifest_file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _try(self, stamp: _Stamp) -> None:
        try:
            self.refresh()
        except Exception as error:
            failure = self._failure
            if failure is None or failure.stamp != stamp:
                _LOG.warning(
                    "%s: searches go on with generation %d, a newer one cannot be opened: %s: %s",
                    self._directory,
                    self.present.snapshot.manifest.generation,
                    type(error).__name__,
                    error,
                )
            self._failure = _Failure(stamp, error, self._clock() + RETRY_AFTER_NS)

    def _populate(self, snapshot: Snapshot, part: Part) -> None:
        for segment in snapshot.segments:
            if (segment.entry.name, part) not in self._populated:
                self._populated.add((segment.entry.name, part))
                populate(segment.files.arrays(part))


def _generation(snapshot: Snapshot) -> Generation:
    manifest = snapshot.manifest
    info = EngineInfo(
        "embedded",
        manifest.content_hash,
        manifest.chunks,
        max(manifest.chunks, manifest.most_chunks),
        manifest.dimension,
        manifest.cosine_min,
        manifest.fusion,
        snapshot.bm25.postings_count,
    )
    return Generation(snapshot, info)
