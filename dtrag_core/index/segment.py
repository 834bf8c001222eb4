"""One segment of an index: a directory of files that never change once written."""

import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from dtrag_core.config import BM25Settings
from dtrag_core.index.arrays import mapped, mapped_group, write_group
from dtrag_core.index.bm25_segments import SegmentPostings
from dtrag_core.index.chunk_store import ChunkStore, ChunkWriter
from dtrag_core.index.deletions import Deletions, read_deletions
from dtrag_core.index.filters import SegmentFilters, write_filters
from dtrag_core.index.forward import ForwardIndex
from dtrag_core.index.halves import Codes
from dtrag_core.index.ivf import SegmentVectors, encode_rows, list_bounds
from dtrag_core.index.manifest import SEGMENTS, SegmentEntry
from dtrag_core.index.postings import Postings
from dtrag_core.index.postings_building import build_postings
from dtrag_core.index.segment_content import SegmentContent
from dtrag_core.index.vectors import padded
from dtrag_core.index.vocabulary import Vocabulary
from dtrag_core.types import FloatArray, Mask

CHUNKS: Final = "chunks.arrow"
FLOAT32, BOUNDS = "vectors_float32.npy", "vectors_bounds.npy"
_CODES: Final = "vectors_"
_POSTINGS, _FORWARD, _VOCABULARY = "postings_", "forward_", "vocabulary_"

Part = Literal["postings", "codes", "float32"]


def write_segment(
    content: SegmentContent,
    directory: Path,
    settings: BM25Settings,
    average_length: float,
    centroids: FloatArray,
) -> SegmentEntry:
    """Write a segment into a new directory and return its entry; its rows go by list."""
    content = content.by_list()
    directory.mkdir(parents=True)
    writer = ChunkWriter(directory / CHUNKS)
    writer.add(content.chunks)
    writer.close()
    write_filters(content.chunks, directory)
    write_group(directory, _VOCABULARY, Vocabulary.of(content.vocabulary).arrays())
    forward = content.forward
    write_group(directory, _FORWARD, forward.arrays())
    postings = build_postings(forward, len(content.vocabulary), settings, average_length)
    write_group(directory, _POSTINGS, postings.arrays())
    _write_float32(content.vectors, directory)
    codes = encode_rows(content.vectors, content.lists, centroids)
    write_group(directory, _CODES, codes._asdict())
    np.save(directory / BOUNDS, list_bounds(content.lists, len(centroids)))
    rows, length = len(content.chunks), int(forward.lengths.sum())
    return SegmentEntry(directory.name, rows, length, average_length, rows, length)


def _write_float32(vectors: FloatArray, directory: Path) -> None:
    rows, dimension = vectors.shape
    array = open_memmap(directory / FLOAT32, "w+", np.float32, (padded(rows), dimension))
    if hasattr(os, "posix_fallocate"):
        # The file's blocks are on disk then, so that none can fail to be written.
        with (directory / FLOAT32).open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, file.seek(0, os.SEEK_END))
    array[:rows] = vectors
    array.flush()


class SegmentFiles:
    """The files of a segment, mapped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = ChunkStore(directory / CHUNKS)
        self.filters = SegmentFilters(directory)
        self.vocabulary = Vocabulary.from_arrays(
            mapped_group(directory, _VOCABULARY, _names_of(Vocabulary))
        )
        self.postings = Postings.from_arrays(
            mapped_group(directory, _POSTINGS, _names_of(Postings))
        )
        self.codes = Codes(**mapped_group(directory, _CODES, Codes._fields))
        self.bounds: NDArray[np.int32] = mapped(directory / BOUNDS)
        self.float32: FloatArray = mapped(directory / FLOAT32)

    def arrays(self, part: Part) -> list[NDArray[Any]]:
        """Return what a search reads of one part."""
        if part == "postings":
            return list(self.postings.arrays().values())
        return [*self.codes, self.bounds] if part == "codes" else [self.float32]

    @cached_property
    def forward(self) -> ForwardIndex:
        """The terms of every row; only writing needs them."""
        return ForwardIndex(**mapped_group(self.directory, _FORWARD, _names_of(ForwardIndex)))

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each of the dataset's ids; only writing needs it."""
        return {name: row for row, name in enumerate(self.store.ids())}


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment in one generation: the files, and which rows are deleted by then."""

    files: SegmentFiles
    entry: SegmentEntry
    deletions: Deletions | None
    live: Mask | None

    def bm25(self, first_row: int) -> SegmentPostings:
        """Return what BM25 searches, with rows counted from `first_row`."""
        removed = None if self.deletions is None else self.deletions.frequency
        return SegmentPostings(
            self.files.vocabulary,
            self.files.postings,
            first_row,
            removed,
            self.live,
            self.entry.live_rows,
            self.entry.live_length,
        )

    def vectors(self, first_row: int) -> SegmentVectors:
        """Return the int8 codes in lists, with rows counted from `first_row`."""
        files = self.files
        return SegmentVectors(files.codes, files.bounds, first_row, self.live)


def open_segment(
    index: Path,
    entry: SegmentEntry,
    files: SegmentFiles | None = None,
    before: Segment | None = None,
) -> Segment:
    """Open a segment of an index directory.

    `files` if they are open already; `before` is the segment, if it has been opened with the same
    deletions.

    Raises IndexCorruptError for a file that cannot be read, FileNotFoundError for one that is not
    there (any more).
    """
    files = files or SegmentFiles(index / SEGMENTS / entry.name)
    if before is not None:
        return Segment(files, entry, before.deletions, before.live)
    deletions = read_deletions(index / entry.deletions) if entry.deletions else None
    live = None if deletions is None else deletions.live(entry.rows)
    return Segment(files, entry, deletions, live)


def _names_of(kind: type[Postings | ForwardIndex | Vocabulary]) -> list[str]:
    return [each.name for each in fields(kind)]
