"""Changing a living index: chunks are added, replaced and deleted without building it again.

Every change is a new generation: the new chunks become a segment, the rows they replace and those
deleted are listed, all is brought to disk, and then one rename puts the manifest that names it in
place. So a reader sees a change whole or not at all, and one that was acknowledged is there after
a kill. Many small segments are merged into fewer large ones beside all this (`compact`).
"""

import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from dtrag_core.embedding.registry import restore_embedder
from dtrag_core.errors import InvalidRequestError
from dtrag_core.index.arrays import read_archive
from dtrag_core.index.builder import EMBEDDER, SEGMENT_ROWS
from dtrag_core.index.leftovers import remove_files, remove_leftovers
from dtrag_core.index.manifest import (
    SEGMENTS,
    FileEntry,
    Manifest,
    SegmentEntry,
    hash_files,
    read_manifest,
)
from dtrag_core.index.merging import choose_merge, full_merges, live_rows, merged_content
from dtrag_core.index.next_generation import Change, next_manifest
from dtrag_core.index.replacing import locked, no_full_disk, sync_entry
from dtrag_core.index.segment import write_segment
from dtrag_core.index.segment_content import ContentCollector, SegmentContent
from dtrag_core.index.snapshot import Snapshot, open_snapshot
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import Chunk, IdArray


class IndexWriter:
    """The one writer of an index directory; any number of engines may search it meanwhile.

    Methods may be called from several threads. Raises BuildError if another process writes the
    directory, the IndexDirectoryError family if it cannot be used. Use it as a context manager.
    After an error of the disk in its last step an update has happened or not, as a whole: then
    `manifest` says which, and updates go on from there.
    """

    def __init__(self, directory: Path, *, segment_rows: int = SEGMENT_ROWS) -> None:
        self._directory = directory
        self._segment_rows = segment_rows
        with ExitStack() as stack:
            stack.enter_context(locked(directory.resolve()))
            self._snapshot = open_snapshot(directory)
            manifest = self._snapshot.manifest
            self._embedder = restore_embedder(manifest.embedder, read_archive(directory / EMBEDDER))
            self._analyzer = Analyzer(manifest.analyzer)
            self._lock = threading.Lock()
            self._merging = threading.Lock()
            self._in_doubt = False
            self._names = count(1 + manifest.newest_segment)
            remove_leftovers(directory, manifest)
            self._resources = stack.pop_all()

    @property
    def manifest(self) -> Manifest:
        """The manifest of the present generation."""
        with self._present() as snapshot:
            return snapshot.manifest

    def add(self, chunks: Sequence[Chunk]) -> Manifest:
        """Add chunks, each in the place of the one with its id if there is one.

        Returns the manifest of the generation that holds them: by then they survive a kill. Raises
        InvalidRequestError if an id comes twice, DataError if a text is not valid Unicode,
        EmbeddingError if one cannot be embedded, BuildError if the disk is full; nothing is changed
        then.
        """
        ids = [chunk.id for chunk in chunks]
        if len(set(ids)) != len(ids):
            twice = next(name for name, times in Counter(ids).items() if times > 1)
            raise InvalidRequestError(f"chunk id {twice!r} comes twice in one update; send it once")
        if not chunks:
            return self.manifest
        collector = ContentCollector(self._analyzer, self._embedder, self._snapshot.centroids)
        collector.add(chunks)
        with self._written(collector.finish()) as (entry, files), self._present() as snapshot:
            return self._commit(Change(_find(snapshot, ids), entry, files))

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the chunks with these ids; return how many there were."""
        with self._present() as snapshot, no_full_disk(self._directory):
            gone = _find(snapshot, ids)
            found = sum(map(len, gone.values()))
            if found:
                self._commit(Change(gone))
            return found

    def compact(self) -> bool:
        """Merge segments once, if any should be by `choose_merge`; return whether it was done.

        Chunks can be added and deleted meanwhile; what is deleted stays deleted.
        """
        with self._merging:
            chosen = choose_merge(self.manifest.segments, self._segment_rows)
            if chosen:
                self._merge(chosen)
            return bool(chosen)

    def compact_all(self) -> None:
        """Merge until no segments should be merged any more."""
        while self.compact():
            pass

    def compact_fully(self) -> None:
        """Merge into as few segments as their size allows, and drop every deleted row.

        Chunks can be added and deleted meanwhile; what that leaves to do is for the next time. Of
        an index without a live row one segment stays.
        """
        with self._merging:
            for chosen in full_merges(self.manifest.segments, self._segment_rows):
                self._merge(chosen)

    def close(self) -> None:
        """Let go of the directory, once a merge that runs has ended."""
        with self._merging, self._lock:
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _present(self) -> Iterator[Snapshot]:
        """Hold the lock, over the generation that is in place.

        A commit that failed may have put its manifest there or not: then one has to look.
        """
        with self._lock:
            if self._in_doubt:
                self._snapshot = open_snapshot(self._directory, self._snapshot)
                self._in_doubt = False
            yield self._snapshot

    def _merge(self, chosen: Sequence[str]) -> None:
        """Write the live rows of these segments as one in their place. No other merge runs."""
        with self._present() as before:
            merged = [each for each in before.segments if each.entry.name in chosen]
        content = merged_content(merged)
        if not content.chunks:
            with self._present() as snapshot:
                # An index has at least one segment.
                spare = chosen[:-1] if len(chosen) == len(snapshot.segments) else chosen
                if spare:
                    self._commit(Change(dropped=spare))
            return
        with self._written(content) as (entry, files), self._present() as snapshot:
            now = {each.entry.name: each for each in snapshot.segments}
            late = [
                each.files.store.chunk(row).id
                for each in merged
                for row in np.setdiff1d(live_rows(each), live_rows(now[each.entry.name]))
            ]
            self._commit(Change({}, entry, files, chosen, late))

    @contextmanager
    def _written(
        self, content: SegmentContent
    ) -> Iterator[tuple[SegmentEntry, dict[str, FileEntry]]]:
        """Write a segment to disk, and take it away again if it does not come into use."""
        folder = self._directory / SEGMENTS / f"{next(self._names):06d}"
        manifest, centroids = self._snapshot.manifest, self._snapshot.centroids
        live = manifest.segments
        rows = sum(each.live_rows for each in live) or len(content.chunks)
        length = sum(each.live_length for each in live) or int(content.forward.lengths.sum())
        try:
            with no_full_disk(self._directory):
                entry = write_segment(content, folder, manifest.bm25, length / rows, centroids)
                files = hash_files(self._directory, folder.iterdir())
                sync_entry(folder)
                sync_entry(folder.parent)
                yield entry, files
        except BaseException:
            if folder.name not in {each.name for each in read_manifest(self._directory).segments}:
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def _commit(self, change: Change) -> Manifest:
        """Put a new generation in place. The lock is held."""
        before = self._snapshot.manifest
        manifest = next_manifest(self._directory, self._snapshot, change)
        self._in_doubt = True
        manifest.write(self._directory)
        self._snapshot = open_snapshot(self._directory, self._snapshot)
        self._in_doubt = False
        remove_files(self._directory, before.files.keys() - manifest.files.keys())
        return manifest


def _find(snapshot: Snapshot, ids: Iterable[str]) -> dict[str, IdArray]:
    """Return the live rows with these ids, by segment."""
    wanted = list(dict.fromkeys(ids))
    found: dict[str, IdArray] = {}
    for segment in snapshot.segments:
        row_of, live = segment.files.row_of, segment.live
        rows = [row_of[name] for name in wanted if name in row_of]
        rows = [row for row in rows if live is None or live[row]]
        if rows:
            found[segment.entry.name] = np.array(rows, np.int32)
    return found
