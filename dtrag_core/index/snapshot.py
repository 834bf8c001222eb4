"""One generation of an index, opened: what a search sees from its beginning to its end."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, repeat
from pathlib import Path
from typing import Final

import numpy as np

from dtrag_core.errors import IndexCorruptError
from dtrag_core.index.arrays import mapped
from dtrag_core.index.bm25_segments import BM25Index
from dtrag_core.index.filters import FilterIndex
from dtrag_core.index.ivf import Float32Segments, IVFVectors
from dtrag_core.index.manifest import Manifest, check_files, read_manifest
from dtrag_core.index.segment import Segment, SegmentFiles, open_segment
from dtrag_core.index.vectors import VectorIndex
from dtrag_core.types import Chunk, FloatArray, IdArray

CENTROIDS: Final = "centroids.npy"


class Snapshot:
    """The segments of one generation, their rows numbered through.

    Rows keep their numbers only within a snapshot. Deleted rows have one, and no leg finds them.
    """

    def __init__(self, manifest: Manifest, centroids: FloatArray, segments: list[Segment]) -> None:
        self.manifest = manifest
        self.centroids = centroids
        self.segments = segments
        sizes = [segment.entry.rows for segment in segments]
        self._starts = np.array([0, *accumulate(sizes)], np.int64)
        self.longest_text = max((each.files.store.longest_text for each in segments), default=0)
        firsts = self._starts[:-1].tolist()
        numbered = list(zip(segments, firsts, strict=True))
        self.bm25 = BM25Index([each.bm25(first) for each, first in numbered], manifest.bm25)
        self.filters = FilterIndex(
            [each.files.filters for each in segments], [each.live for each in segments]
        )
        parts = [each.vectors(first) for each, first in numbered]
        self.float32: VectorIndex = Float32Segments(
            parts, [each.files.float32 for each in segments]
        )
        point = manifest.vectors
        self.ivf = IVFVectors(centroids, parts, point.probes, point.reach)
        self.int8: VectorIndex = self.ivf.exact()

    @property
    def rows(self) -> int:
        """How many rows there are, deleted ones among them."""
        return int(self._starts[-1])

    def fetch(self, ids: IdArray) -> list[Chunk]:
        """Return the chunks of these rows, in this order."""
        return [self.segments[part].files.store.chunk(row) for part, row in self._places(ids)]

    def records(self, ids: IdArray) -> list[bytes]:
        """Return the chunks of these rows as JSON objects."""
        return [self.segments[part].files.store.record(row) for part, row in self._places(ids)]

    def names(self, ids: IdArray) -> list[str]:
        """Return the dataset's ids of these rows."""
        if len(self.segments) == 1:
            return self.segments[0].files.store.names(ids.tolist())
        places = self._places(ids)
        return [self.segments[part].files.store.names((row,))[0] for part, row in places]

    def text_bytes(self, ids: IdArray) -> list[int]:
        """Return the size in bytes of each of these rows' texts, without reading them."""
        places = self._places(ids)
        return [self.segments[part].files.store.text_bytes(row) for part, row in places]

    @cached_property
    def chunk_ids(self) -> Sequence[str]:
        """The dataset's id of every row."""
        return [name for segment in self.segments for name in segment.files.store.ids()]

    def _places(self, ids: IdArray) -> Iterator[tuple[int, int]]:
        if len(self.segments) == 1:
            return zip(repeat(0), ids.tolist(), strict=False)
        parts = np.searchsorted(self._starts, ids, side="right") - 1
        rows = ids - self._starts[parts]
        return zip(parts.tolist(), rows.tolist(), strict=True)


def open_snapshot(directory: Path, before: Snapshot | None = None) -> Snapshot:
    """Open the present generation; what `before` has open of it is used again.

    Raises the IndexDirectoryError family on a directory that cannot be used.
    """
    while True:
        manifest = read_manifest(directory)
        try:
            check_files(directory, manifest, None if before is None else before.manifest)
            opened = _open(directory, manifest, before)
            # A rebuild may have put files of the same names in place meanwhile.
            if read_manifest(directory) == manifest:
                return opened
        except (IndexCorruptError, FileNotFoundError) as error:
            # A writer takes away what a newer generation does not need.
            if read_manifest(directory) != manifest:
                continue
            if isinstance(error, IndexCorruptError):
                raise
            raise IndexCorruptError(
                f"{error.filename} is missing; build it again: dtrag index build"
            ) from error


def _open(directory: Path, manifest: Manifest, before: Snapshot | None) -> Snapshot:
    opened: dict[str, SegmentFiles] = {}
    deleted: dict[str, Segment] = {}
    centroids: FloatArray | None = None
    if before is not None:
        known = before.manifest.files
        if known[CENTROIDS] == manifest.files[CENTROIDS]:
            centroids = before.centroids
        for each in before.segments:
            names = each.entry.inside(known)
            if all(known[name] == manifest.files.get(name) for name in names):
                opened[each.entry.name] = each.files
                name = each.entry.deletions
                if name and known[name] == manifest.files.get(name):
                    deleted[name] = each
    segments = [
        open_segment(directory, entry, opened.get(entry.name), deleted.get(entry.deletions))
        for entry in manifest.segments
    ]
    if centroids is None:
        centroids = mapped(directory / CENTROIDS)
    return Snapshot(manifest, centroids, segments)
