"""The embedded engine: an index directory, memory-mapped."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from dtrag_core.embedding.registry import restore_embedder
from dtrag_core.engines.base import EngineInfo
from dtrag_core.errors import EmbeddingError, IndexMismatchError
from dtrag_core.index.arrays import populate, read_archive
from dtrag_core.index.bm25_segments import BM25Index, QueryTerms
from dtrag_core.index.builder import EMBEDDER
from dtrag_core.index.filters import FilterIndex
from dtrag_core.index.manifest import MANIFEST, Manifest
from dtrag_core.index.segment import Part
from dtrag_core.index.snapshot import Snapshot, open_snapshot
from dtrag_core.index.topk import merge
from dtrag_core.index.vectors import VectorIndex
from dtrag_core.index.warm_up import warm_up
from dtrag_core.ranking import fusion
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import (
    Candidates,
    Chunk,
    Filters,
    FloatArray,
    IdArray,
    Mask,
    Switches,
)

_LOOK_EVERY_NS: Final = 5_000_000
_EVERYTHING: Final[Mask] = np.zeros(0, np.bool_)


class EmbeddedEngine:
    """Searches one index directory; shared by threads, and its pages by processes.

    Opening maps the files and runs each kernel once, so that no search pays for compiling; pages
    are read ahead in the background, those of vectors once these are used. When a writer has put a
    new generation in place, it is opened in the background and serves the searches that begin
    after that; `refresh` waits for it. Raises the IndexDirectoryError family on a directory it
    cannot use.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._manifest_file = directory / MANIFEST
        self._seen = (0, 0)
        self._seen = self._stamp()
        self.snapshot = open_snapshot(directory)
        self._analyzer = Analyzer(self.manifest.analyzer)
        self._embedder = restore_embedder(
            self.manifest.embedder, read_archive(directory / EMBEDDER)
        )
        self._info = _info(self.snapshot)
        self._opener = ThreadPoolExecutor(1, "generation")
        self._opening: Future[None] | None = None
        self._look_again = 0
        self._parts: set[Part] = set()
        self._populated: set[tuple[str, Part]] = set()
        self._use("postings")
        warm_up(self.snapshot)
        fusion.warm_up()

    @property
    def info(self) -> EngineInfo:
        """What this engine holds now."""
        return self._info

    @property
    def manifest(self) -> Manifest:
        """The manifest of the generation searched now."""
        return self.snapshot.manifest

    @property
    def bm25(self) -> BM25Index:
        """The BM25 index of the generation searched now."""
        return self.snapshot.bm25

    @property
    def filters(self) -> FilterIndex:
        """Paths and types of the generation searched now."""
        return self.snapshot.filters

    def session(self, switches: Switches) -> "EmbeddedSession":
        """Return a session over the present generation, which keeps it to its end."""
        self._look_for_generation()
        self._use("codes" if switches.int8 or switches.ann else "float32")
        return EmbeddedSession(self._analyzer, self.snapshot, self._info, switches)

    def refresh(self) -> None:
        """Serve the newest generation from now on.

        Raises IndexMismatchError if another index has taken the directory's place.
        """
        seen = self._stamp()
        snapshot = open_snapshot(self.directory, self.snapshot)
        before, now = self.manifest, snapshot.manifest
        for name in ("embedder_fingerprint", "analyzer"):
            if getattr(before, name) != getattr(now, name):
                raise IndexMismatchError(
                    f"{self.directory} was replaced by an index with {name} {getattr(now, name)}, "
                    f"it was opened with {getattr(before, name)}; open it again"
                )
        for part in tuple(self._parts):
            self._populate(snapshot, part)
        self.snapshot, self._info, self._seen = snapshot, _info(snapshot), seen

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[dimension] for a query."""
        return self._embedder.embed_query(text)

    def chunk_ids(self) -> Sequence[str]:
        """Return the dataset's id of every chunk, by row."""
        return self.snapshot.chunk_ids

    def resident_bytes(self, switches: Switches) -> Mapping[str, int]:
        """Return the bytes a search with these switches needs resident, by part; texts apart."""
        snapshot = self.snapshot
        return {
            "vectors": _vectors(snapshot, switches).nbytes,
            "postings": snapshot.bm25.nbytes,
            "vocabulary": snapshot.bm25.vocabulary_bytes,
            "filters": snapshot.filters.nbytes,
        }

    def close(self) -> None:
        """Stop looking for generations; mapped arrays go with the last session that uses them."""
        self._opener.shutdown(cancel_futures=True)

    def _stamp(self) -> tuple[int, int]:
        try:
            status = self._manifest_file.stat()
        except FileNotFoundError:
            return self._seen
        return status.st_ino, status.st_mtime_ns

    def _use(self, part: Part) -> None:
        """Have a part's pages at hand, in the background, when it is used for the first time."""
        if part not in self._parts:
            self._parts.add(part)
            self._opener.submit(self._populate, self.snapshot, part)

    def _populate(self, snapshot: Snapshot, part: Part) -> None:
        for segment in snapshot.segments:
            if (segment.entry.name, part) not in self._populated:
                self._populated.add((segment.entry.name, part))
                populate(segment.files.arrays(part))

    def _look_for_generation(self) -> None:
        opening = self._opening  # another thread may take it away
        if opening is not None:
            if not opening.done():
                return
            self._opening = None
            opening.result()
        now = time.monotonic_ns()
        if now < self._look_again:
            return
        self._look_again = now + _LOOK_EVERY_NS
        if self._stamp() != self._seen:
            self._opening = self._opener.submit(self.refresh)


class EmbeddedSession:
    """The legs of one search, all over one generation."""

    def __init__(
        self, analyzer: Analyzer, snapshot: Snapshot, info: EngineInfo, switches: Switches
    ) -> None:
        self.info = info
        self._analyzer = analyzer
        self._snapshot = snapshot
        self._vectors = _vectors(snapshot, switches)
        self._analysed: tuple[str, QueryTerms] | None = None

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        """Return the `depth` best chunks by BM25 among those the mask allows."""
        return self._snapshot.bm25.search(self._terms(query), depth, _allowed(mask))

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        """Return the `depth` best chunks by cosine; none for the zero vector of an empty text.

        Raises EmbeddingError for another shape, NaN or infinity.
        """
        if not self._has_direction(vector):
            return _NOTHING
        return self._vectors.search(vector, depth, _allowed(mask))

    def bm25_shards(
        self, query: str, depth: int, mask: Mask | None, shards: int
    ) -> Sequence[Callable[[], Candidates]]:
        """Return the BM25 leg cut into jobs that share no row; `merge` puts them together."""
        terms, search = self._terms(query), self._snapshot.bm25.search_shard
        return [
            partial(search, terms, depth, _allowed(mask), shard, shards) for shard in range(shards)
        ]

    def vector_shards(
        self, vector: FloatArray, depth: int, mask: Mask | None, shards: int
    ) -> Sequence[Callable[[], Candidates]]:
        """Return the vector leg cut into jobs that share no row. Raises as `vector_leg` does."""
        if not self._has_direction(vector):
            return []
        search = self._vectors.search_shard
        return [
            partial(search, vector, depth, _allowed(mask), shard, shards) for shard in range(shards)
        ]

    def merge(self, parts: Sequence[Candidates], depth: int) -> Candidates:
        """Return the `depth` best of what the jobs of one leg found."""
        return merge(parts, depth)

    def bm25_scores(self, query: str, ids: IdArray) -> FloatArray:
        """Return the exact BM25 score float32[n] of each id."""
        return self._snapshot.bm25.scores(self._terms(query), ids)

    def cosine_scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the cosine float32[n] of each id."""
        return self._vectors.scores(vector, ids)

    def compile_filters(self, filters: Filters | None) -> Mask | None:
        """Return bool[rows] of what the filters allow; None if they allow everything."""
        return self._snapshot.filters.compile(filters)

    def fetch(self, ids: IdArray) -> Sequence[Chunk]:
        """Return the chunks with these ids, in this order."""
        return self._snapshot.fetch(ids)

    def names(self, ids: IdArray) -> Sequence[str]:
        """Return the dataset's ids of these chunks; no text is read."""
        return self._snapshot.names(ids)

    @property
    def longest_text(self) -> int:
        """Bytes of the longest text."""
        return self._snapshot.longest_text

    def text_bytes(self, ids: IdArray) -> Sequence[int]:
        """Return the size of each of these chunks' texts in bytes, without reading them."""
        return self._snapshot.text_bytes(ids)

    def _terms(self, query: str) -> QueryTerms:
        if self._analysed is None or self._analysed[0] != query:
            terms = self._snapshot.bm25.query_terms(self._analyzer.tokens(query))
            self._analysed = (query, terms)
        return self._analysed[1]

    def _has_direction(self, vector: FloatArray) -> bool:
        if vector.shape != (self.info.dimension,):
            raise EmbeddingError(
                f"the index holds vectors of dimension {self.info.dimension}, the query's has "
                f"shape {vector.shape}; embed queries with the index's own embedder"
            )
        length = float(np.dot(vector, vector))
        if not np.isfinite(length):
            raise EmbeddingError("the query's embedding holds NaN or infinity")
        return length > 0


_NOTHING: Final = Candidates(np.zeros(0, np.int32), np.zeros(0, np.float32))


def _allowed(mask: Mask | None) -> Mask:
    return _EVERYTHING if mask is None else mask


def _vectors(snapshot: Snapshot, switches: Switches) -> VectorIndex:
    if switches.ann:
        return snapshot.ivf
    return snapshot.int8 if switches.int8 else snapshot.float32


def _info(snapshot: Snapshot) -> EngineInfo:
    manifest = snapshot.manifest
    return EngineInfo(
        "embedded",
        manifest.content_hash,
        manifest.chunks,
        manifest.dimension,
        manifest.cosine_min,
        manifest.fusion,
        snapshot.bm25.postings_count,
    )
