"""The next generation of an index: which segments, deleted rows and files it consists of."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from dtrag_core.index.deletions import delete_rows
from dtrag_core.index.manifest import SEGMENTS, FileEntry, Manifest, SegmentEntry, hash_files
from dtrag_core.index.replacing import sync_entry
from dtrag_core.index.segment import Segment, open_segment
from dtrag_core.index.snapshot import Snapshot
from dtrag_core.types import IdArray

DELETIONS: Final = "deletions"


@dataclass(frozen=True, slots=True)
class Change:
    """What makes a generation of the one before.

    `gone` are rows to delete, by segment; `entry` is a segment to add, whose `files` are on disk;
    `dropped` are segments it replaces, and `late` ids to delete from it: they were deleted from
    those while it was written.
    """

    gone: Mapping[str, IdArray] = field(default_factory=dict)
    entry: SegmentEntry | None = None
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    dropped: Sequence[str] = ()
    late: Sequence[str] = ()


def next_manifest(directory: Path, snapshot: Snapshot, change: Change) -> Manifest:
    """Write the lists of deleted rows to disk, and return the manifest that makes the change."""
    before, gone, entry = snapshot.manifest, change.gone, change.entry
    generation = before.generation + 1
    made = dict(change.files)
    entries = [
        _without(directory, each, gone[each.entry.name], generation, made)
        if each.entry.name in gone
        else each.entry
        for each in snapshot.segments
        if each.entry.name not in change.dropped
    ]
    if entry is not None:
        if change.late:
            added = open_segment(directory, entry)
            rows = np.array([added.files.row_of[name] for name in change.late], np.int32)
            entry = _without(directory, added, rows, generation, made)
        entries.append(entry)
    fingerprint = before.dataset_fingerprint
    if not change.dropped:
        known_as = f"{fingerprint} {sorted(made.items())}"
        fingerprint = hashlib.sha256(known_as.encode()).hexdigest()
    return replace(
        before,
        dataset_fingerprint=fingerprint,
        generation=generation,
        chunks=sum(each.live_rows for each in entries),
        segments=tuple(entries),
        files=_files(entries, {**before.files, **made}),
        last_segment=before.newest_segment,
        most_chunks=max(before.most_chunks, before.chunks),
    )


def _files(entries: Sequence[SegmentEntry], known: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
    """Return those of the known files that an index of these segments needs."""
    of_segments = (f"{SEGMENTS}/", f"{DELETIONS}/")
    kept = {name: known[name] for name in known if not name.startswith(of_segments)}
    for each in entries:
        kept.update((name, known[name]) for name in each.inside(known))
        if each.deletions:
            kept[each.deletions] = known[each.deletions]
    return kept


def _without(
    directory: Path,
    segment: Segment,
    rows: IdArray,
    generation: int,
    made: dict[str, FileEntry],
) -> SegmentEntry:
    """Return the segment's entry with these rows deleted too; their list goes to disk."""
    files, entry = segment.files, segment.entry
    deletions = delete_rows(segment.deletions, files.forward, rows, len(files.vocabulary))
    path = directory / DELETIONS / f"{entry.name}-{generation}.npz"
    if not path.parent.is_dir():
        path.parent.mkdir()
        sync_entry(directory)
    deletions.write(path)
    made.update(hash_files(directory, [path]))
    return replace(
        entry,
        live_rows=entry.rows - len(deletions.rows),
        live_length=entry.total_length - deletions.length,
        deletions=path.relative_to(directory).as_posix(),
    )
