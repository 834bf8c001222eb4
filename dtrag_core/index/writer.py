"""Changing a living index: chunks are added, replaced and deleted without building it again.

Every change is a new generation: the new chunks become a segment, the rows they replace and those
deleted are listed, all is brought to disk, and then one rename puts the manifest that names it in
place. So a reader sees a change whole or not at all, and one that was acknowledged is there after
a kill. Many small segments are merged into fewer large ones beside all this (`compact`).
"""

import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from dtrag_core.embedding.registry import restore_embedder
from dtrag_core.errors import InvalidRequestError
from dtrag_core.index.arrays import read_archive
from dtrag_core.index.builder import EMBEDDER, SEGMENT_ROWS
from dtrag_core.index.deletions import delete_rows
from dtrag_core.index.manifest import (
    SEGMENTS,
    FileEntry,
    Manifest,
    SegmentEntry,
    hash_files,
    read_manifest,
)
from dtrag_core.index.merging import choose_merge, live_rows, merged_content
from dtrag_core.index.replacing import locked, no_full_disk, sync_entry
from dtrag_core.index.segment import Segment, open_segment, write_segment
from dtrag_core.index.segment_content import ContentCollector, SegmentContent
from dtrag_core.index.snapshot import open_snapshot
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import Chunk, IdArray

DELETIONS: Final = "deletions"


class IndexWriter:
    """The one writer of an index directory; any number of engines may search it meanwhile.

    Methods may be called from several threads. Raises BuildError if another process writes the
    directory, the IndexDirectoryError family if it cannot be used. Use it as a context manager.
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
            self._names = count(1 + max(int(each.name) for each in manifest.segments))
            self._remove_leftovers()
            self._resources = stack.pop_all()

    @property
    def manifest(self) -> Manifest:
        """The manifest of the present generation."""
        return self._snapshot.manifest

    def add(self, chunks: Sequence[Chunk]) -> Manifest:
        """Add chunks, each in the place of the one with its id if there is one.

        Returns the manifest of the generation that holds them: by then they survive a kill. Raises
        InvalidRequestError if an id comes twice, EmbeddingError if a text cannot be embedded,
        BuildError if the disk is full; nothing is changed then.
        """
        ids = [chunk.id for chunk in chunks]
        if len(set(ids)) != len(ids):
            twice = next(name for name, times in Counter(ids).items() if times > 1)
            raise InvalidRequestError(f"chunk id {twice!r} comes twice in one update; send it once")
        if not chunks:
            return self.manifest
        collector = ContentCollector(self._analyzer, self._embedder, self._snapshot.centroids)
        collector.add(chunks)
        with self._written(collector.finish()) as (entry, files), self._lock:
            return self._commit(self._find(ids), entry, files)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete the chunks with these ids; return how many there were."""
        with self._lock, no_full_disk(self._directory):
            gone = self._find(ids)
            found = sum(map(len, gone.values()))
            if found:
                self._commit(gone)
            return found

    def compact(self) -> bool:
        """Merge segments once, if any should be; return whether it was done.

        Chunks can be added and deleted meanwhile; what is deleted stays deleted.
        """
        with self._merging:
            before = self._snapshot
            chosen = choose_merge(before.manifest.segments, self._segment_rows)
            if not chosen:
                return False
            merged = [each for each in before.segments if each.entry.name in chosen]
            content = merged_content(merged)
            if not content.chunks:
                with self._lock:
                    self._commit({}, dropped=chosen)
                return True
            with self._written(content) as (entry, files), self._lock:
                now = {each.entry.name: each for each in self._snapshot.segments}
                late = [
                    each.files.store.chunk(row).id
                    for each in merged
                    for row in np.setdiff1d(live_rows(each), live_rows(now[each.entry.name]))
                ]
                self._commit({}, entry, files, chosen, late)
            return True

    def compact_all(self) -> None:
        """Merge until no segments should be merged any more."""
        while self.compact():
            pass

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

    def _find(self, ids: Iterable[str]) -> dict[str, IdArray]:
        """Return the live rows with these ids, by segment."""
        wanted = list(dict.fromkeys(ids))
        found: dict[str, IdArray] = {}
        for segment in self._snapshot.segments:
            row_of, live = segment.files.row_of, segment.live
            rows = [row_of[name] for name in wanted if name in row_of]
            rows = [row for row in rows if live is None or live[row]]
            if rows:
                found[segment.entry.name] = np.array(rows, np.int32)
        return found

    @contextmanager
    def _written(
        self, content: SegmentContent
    ) -> Iterator[tuple[SegmentEntry, dict[str, FileEntry]]]:
        """Write a segment to disk, and take it away again if it does not come into use."""
        folder = self._directory / SEGMENTS / f"{next(self._names):06d}"
        live = self.manifest.segments
        rows = sum(each.live_rows for each in live) or len(content.chunks)
        length = sum(each.live_length for each in live) or int(content.forward.lengths.sum())
        centroids = self._snapshot.centroids
        try:
            with no_full_disk(self._directory):
                entry = write_segment(content, folder, self.manifest.bm25, length / rows, centroids)
                files = hash_files(self._directory, folder.iterdir())
                sync_entry(folder)
                sync_entry(folder.parent)
                yield entry, files
        except BaseException:
            if folder.name not in {each.name for each in read_manifest(self._directory).segments}:
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def _commit(
        self,
        gone: Mapping[str, IdArray],
        entry: SegmentEntry | None = None,
        files: Mapping[str, FileEntry] | None = None,
        dropped: Sequence[str] = (),
        late: Sequence[str] = (),
    ) -> Manifest:
        """Put a new generation in place: without these rows and segments, with this segment.

        `late` are ids to delete from the new segment. The lock is held.
        """
        before = self.manifest
        generation = before.generation + 1
        segments = [each for each in self._snapshot.segments if each.entry.name not in dropped]
        made = dict(files or {})
        entries = [
            self._without(each, gone[each.entry.name], generation, made)
            if each.entry.name in gone
            else each.entry
            for each in segments
        ]
        if entry is not None:
            if late:
                added = open_segment(self._directory, entry)
                rows = np.array([added.files.row_of[name] for name in late], np.int32)
                entry = self._without(added, rows, generation, made)
            entries.append(entry)
        known = {**before.files, **made}
        kept = {
            name: known[name]
            for name in known
            if not name.startswith((f"{SEGMENTS}/", f"{DELETIONS}/"))
        }
        for each in entries:
            kept.update((name, known[name]) for name in each.inside(known))
            if each.deletions:
                kept[each.deletions] = known[each.deletions]
        if not dropped:
            known_as = f"{before.dataset_fingerprint} {sorted(made.items())}"
            before = replace(
                before, dataset_fingerprint=hashlib.sha256(known_as.encode()).hexdigest()
            )
        manifest = replace(
            before,
            generation=generation,
            chunks=sum(each.live_rows for each in entries),
            segments=tuple(entries),
            files=kept,
        )
        manifest.write(self._directory)
        self._snapshot = open_snapshot(self._directory, self._snapshot)
        self._remove(before.files.keys() - kept.keys())
        return manifest

    def _without(
        self,
        segment: Segment,
        rows: IdArray,
        generation: int,
        made: dict[str, FileEntry],
    ) -> SegmentEntry:
        """Return the segment's entry with these rows deleted too; their list goes to disk."""
        files, entry = segment.files, segment.entry
        deletions = delete_rows(segment.deletions, files.forward, rows, len(files.vocabulary))
        path = self._directory / DELETIONS / f"{entry.name}-{generation}.npz"
        path.parent.mkdir(exist_ok=True)
        deletions.write(path)
        made.update(hash_files(self._directory, [path]))
        sync_entry(path.parent)
        return replace(
            entry,
            live_rows=entry.rows - len(deletions.rows),
            live_length=entry.total_length - deletions.length,
            deletions=path.relative_to(self._directory).as_posix(),
        )

    def _remove(self, files: Iterable[str]) -> None:
        """Take away files that no generation needs any more, and folders left empty."""
        folders = set()
        for name in files:
            path = self._directory / name
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in folders:
            if folder.parent.name == SEGMENTS:
                folder.rmdir()

    def _remove_leftovers(self) -> None:
        """Take away what a killed writer left, which no manifest names."""
        named = {self._directory / name for name in self.manifest.files}
        folders = {path.parent for path in named}
        for folder in (self._directory / SEGMENTS).iterdir():
            if folder not in folders:
                shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
        if (self._directory / DELETIONS).is_dir():
            for path in (self._directory / DELETIONS).iterdir():
                if path not in named:
                    path.unlink()
