"""The embedded engine: an index directory, memory-mapped."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.embedding.registry import restore_embedder
from dtrag_core.engines.base import EngineInfo
from dtrag_core.errors import EmbeddingError, IndexCorruptError, IndexDirectoryError
from dtrag_core.index import builder as files
from dtrag_core.index.bm25 import BM25Index, Postings, QueryTerms
from dtrag_core.index.chunk_store import ChunkStore
from dtrag_core.index.filters import FilterIndex
from dtrag_core.index.manifest import Manifest, read_manifest
from dtrag_core.index.vectors import Float32Vectors, Int8Vectors, VectorIndex
from dtrag_core.ranking.fusion import union_of_few
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import (
    LEGACY,
    OPTIMIZED,
    Candidates,
    Chunk,
    Filters,
    FloatArray,
    IdArray,
    Mask,
    Switches,
)

_EVERYTHING: Final[Mask] = np.zeros(0, np.bool_)


class EmbeddedEngine:
    """Searches one index directory; shared by threads, and its pages by processes.

    Opening maps the files, loads the vocabulary and runs each kernel once, so that no search
    pays for compiling. Raises the IndexDirectoryError family on a directory it cannot use.
    """

    def __init__(self, directory: Path) -> None:
        self.manifest: Manifest = read_manifest(directory)
        self.directory = directory
        self._store = ChunkStore(directory / files.CHUNKS)
        self.filters = FilterIndex(directory)
        self._analyzer = Analyzer(self.manifest.analyzer)
        self.bm25 = _open_bm25(directory, self.manifest.chunks)
        self._float32: FloatArray = _mapped(directory / files.FLOAT32)
        self._codes: NDArray[np.int8] = _mapped(directory / files.CODES)
        self._scales: FloatArray = _mapped(directory / files.SCALES)
        self._embedder = restore_embedder(
            self.manifest.embedder, _arrays(directory / files.EMBEDDER)
        )
        self._info = EngineInfo(
            "embedded",
            self.manifest.content_hash,
            self.manifest.chunks,
            self.manifest.dimension,
            self.manifest.cosine_min,
            self.manifest.fusion,
        )
        self._warm_up()
        if read_manifest(directory).content_hash != self.manifest.content_hash:
            raise IndexDirectoryError(
                f"{directory} was replaced while it was being opened; open it again"
            )

    @property
    def info(self) -> EngineInfo:
        """What this engine holds."""
        return self._info

    def session(self, switches: Switches) -> "EmbeddedSession":
        """Return a session whose vector leg uses int8 codes or float32 vectors."""
        return EmbeddedSession(
            self._analyzer,
            self.bm25,
            self._vectors(switches),
            self.manifest.dimension,
        )

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[dimension] for a query."""
        return self._embedder.embed_query(text)

    def compile_filters(self, filters: Filters | None) -> Mask | None:
        """Return bool[chunks] of what the filters allow; None if they allow everything."""
        return self.filters.compile(filters)

    def fetch(self, ids: IdArray) -> Sequence[Chunk]:
        """Return the chunks with these ids, in this order."""
        return self._store.fetch(ids)

    def chunk_ids(self) -> Sequence[str]:
        """Return the dataset's id of every chunk, by row."""
        return self._store.ids()

    def resident_bytes(self, switches: Switches) -> Mapping[str, int]:
        """Return the bytes a search with these switches needs resident, by part; texts apart."""
        return {
            "vectors": self._vectors(switches).nbytes,
            "postings": self.bm25.postings.nbytes,
            "vocabulary": self.bm25.vocabulary_bytes,
            "filters": self.filters.nbytes,
        }

    def text_bytes(self, ids: IdArray) -> Sequence[int]:
        """Return the size of each of these chunks' texts in bytes, without reading them."""
        return self._store.text_bytes(ids)

    def close(self) -> None:
        """Release the texts; the mapped arrays go with the last session that uses them."""
        self._store.close()

    def _vectors(self, switches: Switches, rows: slice = slice(None)) -> VectorIndex:
        if switches.int8:
            return Int8Vectors(self._codes[rows], self._scales[rows])
        vectors = self._float32[rows]
        return Float32Vectors(vectors, min(len(vectors), self.manifest.chunks))

    def _warm_up(self) -> None:
        """Run every kernel once on one row, so that no page is touched that no search needs."""
        vector = np.zeros(self.manifest.dimension, np.float32)
        first = np.zeros(1, np.int32)
        nothing = self.bm25.query_terms(())
        found = self.bm25.search(nothing, 1, _EVERYTHING)
        self.bm25.scores(nothing, first)
        for switches in (LEGACY, OPTIMIZED):
            vectors = self._vectors(switches, slice(1))
            vectors.search(vector, 1, _EVERYTHING)
            vectors.scores(vector, first)
        union_of_few(found.ids, first, 1)


class EmbeddedSession:
    """The legs of one search over the embedded engine."""

    def __init__(
        self, analyzer: Analyzer, bm25: BM25Index, vectors: VectorIndex, dimension: int
    ) -> None:
        self._analyzer = analyzer
        self._bm25 = bm25
        self._vectors = vectors
        self._dimension = dimension
        self._analysed: tuple[str, QueryTerms] | None = None

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        """Return the `depth` best chunks by BM25 among those the mask allows."""
        return self._bm25.search(self._terms(query), depth, _EVERYTHING if mask is None else mask)

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        """Return the `depth` best chunks by cosine; none for the zero vector of an empty text.

        Raises EmbeddingError for another shape, NaN or infinity.
        """
        if vector.shape != (self._dimension,):
            raise EmbeddingError(
                f"the index holds vectors of dimension {self._dimension}, the query's has shape "
                f"{vector.shape}; embed queries with the index's own embedder"
            )
        length = float(np.dot(vector, vector))
        if not np.isfinite(length):
            raise EmbeddingError("the query's embedding holds NaN or infinity")
        if length == 0:
            return Candidates(np.zeros(0, np.int32), np.zeros(0, np.float32))
        return self._vectors.search(vector, depth, _EVERYTHING if mask is None else mask)

    def bm25_scores(self, query: str, ids: IdArray) -> FloatArray:
        """Return the exact BM25 score float32[n] of each id."""
        return self._bm25.scores(self._terms(query), ids)

    def cosine_scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the cosine float32[n] of each id."""
        return self._vectors.scores(vector, ids)

    def _terms(self, query: str) -> QueryTerms:
        if self._analysed is None or self._analysed[0] != query:
            terms = self._bm25.query_terms(self._analyzer.tokens(query))
            self._analysed = (query, terms)
        return self._analysed[1]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> IndexCorruptError:
    return IndexCorruptError(f"{path} cannot be read ({error}); build it again: dtrag index build")


def _open_bm25(directory: Path, chunks: int) -> BM25Index:
    path = directory / files.VOCABULARY
    try:
        terms = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _unreadable(path, error) from error
    postings = Postings(
        _mapped(directory / files.OFFSETS),
        _mapped(directory / files.IDS),
        _mapped(directory / files.IMPACTS),
        chunks,
    )
    return BM25Index({term: number for number, term in enumerate(terms)}, postings)


def _mapped(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error
