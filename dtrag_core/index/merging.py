"""Merging segments: which, and how their live rows become one."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.index.forward import joined
from dtrag_core.index.manifest import SegmentEntry
from dtrag_core.index.segment import Segment
from dtrag_core.index.segment_content import SegmentContent
from dtrag_core.types import Chunk

SMALLEST: Final = 2048
FANOUT: Final = 4
MOST_DELETED: Final = 0.25


def choose_merge(segments: Sequence[SegmentEntry], most_rows: int) -> tuple[str, ...]:
    """Return the names of segments to merge into one, () if none should be.

    Segments are sorted into size classes, each `FANOUT` times the one before; `FANOUT` of one
    class are merged, as long as the result has at most `most_rows`, so that a chunk is copied once
    a class. A segment that is more than a quarter deleted is written anew.
    """
    classes: dict[int, list[SegmentEntry]] = {}
    for entry in segments:
        if entry.live_rows == 0 and len(segments) == 1:
            return ()
        if entry.live_rows < (1 - MOST_DELETED) * entry.rows:
            return (entry.name,)
        classes.setdefault(_size_class(entry.live_rows), []).append(entry)
    for _, entries in sorted(classes.items()):
        chosen = entries[:FANOUT]
        rows = sum(entry.live_rows for entry in chosen)
        if len(chosen) == FANOUT and rows <= most_rows:
            return tuple(entry.name for entry in chosen)
    return ()


def full_merges(segments: Sequence[SegmentEntry], most_rows: int) -> list[tuple[str, ...]]:
    """Return which segments to merge with which, so that few are left and no deleted row.

    The largest come first, each goes where it fits first (first-fit decreasing), and none is cut.
    One that stays alone and has no deleted rows is not named.
    """
    groups: list[list[SegmentEntry]] = []
    by_size = sorted(segments, key=lambda entry: (entry.live_rows, entry.rows), reverse=True)
    for entry in by_size:
        for group in groups:
            if sum(each.live_rows for each in group) + entry.live_rows <= most_rows:
                group.append(entry)
                break
        else:
            groups.append([entry])
    return [
        tuple(entry.name for entry in group)
        for group in groups
        if len(group) > 1 or group[0].live_rows < group[0].rows
    ]


def _size_class(rows: int) -> int:
    size_class, limit = 0, SMALLEST
    while rows >= limit:
        size_class, limit = size_class + 1, limit * FANOUT
    return size_class


def merged_content(segments: Sequence[Segment]) -> SegmentContent:
    """Return the live rows of the segments in the order they come to lie in one segment."""
    numbers: dict[str, int] = {}
    chunks: list[Chunk] = []
    forwards, vectors, lists = [], [], []
    for segment in segments:
        rows, files = live_rows(segment), segment.files
        renumbered = np.array(
            [numbers.setdefault(term, len(numbers)) for term in files.vocabulary.terms()], np.int32
        )
        chunks.extend(files.store.chunk(row) for row in rows.tolist())
        forwards.append(files.forward.rows(rows).renumbered(renumbered))
        vectors.append(np.asarray(files.float32[rows]))
        lists.append(_list_of_row(files.bounds)[rows])
    return SegmentContent(
        chunks, list(numbers), joined(forwards), np.concatenate(vectors), np.concatenate(lists)
    ).without_unused_terms()


def live_rows(segment: Segment) -> NDArray[np.int64]:
    """Return the rows of a segment that are not deleted, int64[n]."""
    if segment.live is None:
        return np.arange(segment.entry.rows, dtype=np.int64)
    return np.flatnonzero(segment.live)


def _list_of_row(bounds: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.repeat(np.arange(len(bounds) - 1, dtype=np.int32), np.diff(bounds))
