"""One search's view of an index directory: the legs over one generation."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from dtrag_core.engines.generations import Generation
from dtrag_core.errors import EmbeddingError
from dtrag_core.index.bm25_segments import QueryBatch
from dtrag_core.index.snapshot import Snapshot
from dtrag_core.index.topk import merge
from dtrag_core.index.vectors import VectorIndex
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import (
    CandidateBatch,
    Candidates,
    Chunk,
    Filters,
    FloatArray,
    IdArray,
    Mask,
    Starts,
    Switches,
)

_EVERYTHING: Final[Mask] = np.zeros(0, np.bool_)
_NOTHING: Final = Candidates(np.zeros(0, np.int32), np.zeros(0, np.float32))


class EmbeddedSession:
    """The legs of one search, all over one generation."""

    def __init__(self, analyzer: Analyzer, generation: Generation, switches: Switches) -> None:
        self.info = generation.info
        self._analyzer = analyzer
        self._snapshot = generation.snapshot
        self._vectors = vectors(generation.snapshot, switches)
        self._analysed: tuple[str, Sequence[str]] | None = None
        self._analysed_batch: tuple[Sequence[str], QueryBatch] | None = None

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        """Return the `depth` best chunks by BM25 among those the mask allows."""
        return self._snapshot.bm25.search_words(self._tokens(query), depth, _allowed(mask))

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
        bm25 = self._snapshot.bm25
        terms, search = bm25.query_terms(self._tokens(query)), bm25.search_shard
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
        return self._snapshot.bm25.word_scores(self._tokens(query), ids)

    def cosine_scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the cosine float32[n] of each id."""
        return self._vectors.scores(vector, ids)

    def bm25_batch(
        self, queries: Sequence[str], depths: Starts, mask: Mask | None
    ) -> CandidateBatch:
        """Return what `bm25_leg` returns for each query, to its own depth."""
        return self._snapshot.bm25.search_batch(self._batch(queries), depths, _allowed(mask))

    def vector_batch(
        self, vectors: FloatArray, depths: Starts, mask: Mask | None
    ) -> CandidateBatch:
        """Return what `vector_leg` returns for each vector. Raises as it does."""
        longest = np.einsum("ij,ij->i", vectors, vectors).max(initial=0)
        self._check_vectors(vectors.shape[1:], float(longest))
        return self._vectors.search_batch(vectors, depths, _allowed(mask))

    def bm25_scores_batch(self, queries: Sequence[str], ids: IdArray, starts: Starts) -> FloatArray:
        """Return the exact BM25 score of each query's ids, one query after the other."""
        return self._snapshot.bm25.scores_batch(self._batch(queries), ids, starts)

    def cosine_scores_batch(self, vectors: FloatArray, ids: IdArray, starts: Starts) -> FloatArray:
        """Return the cosine of each vector's ids, one vector after the other."""
        return self._vectors.scores_batch(vectors, ids, starts)

    def compile_filters(self, filters: Filters | None) -> Mask | None:
        """Return bool[rows] of what the filters allow; None if they allow everything."""
        return self._snapshot.filters.compile(filters)

    def fetch(self, ids: IdArray) -> Sequence[Chunk]:
        """Return the chunks with these ids, in this order."""
        return self._snapshot.fetch(ids)

    def records(self, ids: IdArray) -> Sequence[bytes]:
        """Return these chunks as JSON objects."""
        return self._snapshot.records(ids)

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

    def _tokens(self, query: str) -> Sequence[str]:
        analysed = self._analysed  # another thread may ask for another query meanwhile
        if analysed is None or analysed[0] != query:
            self._analysed = analysed = (query, self._analyzer.tokens(query))
        return analysed[1]

    def _batch(self, queries: Sequence[str]) -> QueryBatch:
        analysed = self._analysed_batch
        if analysed is None or analysed[0] is not queries:
            tokens = [self._analyzer.tokens(query) for query in queries]
            self._analysed_batch = analysed = (queries, self._snapshot.bm25.query_batch(tokens))
        return analysed[1]

    def _has_direction(self, vector: FloatArray) -> bool:
        length = float(np.vdot(vector, vector))
        self._check_vectors(vector.shape, length)
        return length > 0

    def _check_vectors(self, shape: tuple[int, ...], length: float) -> None:
        """Raise EmbeddingError for another shape; `length` is infinite or NaN if a part is."""
        if shape != (self.info.dimension,):
            raise EmbeddingError(
                f"the index holds vectors of dimension {self.info.dimension}, the query's has "
                f"shape {shape}; embed queries with the index's own embedder"
            )
        if not math.isfinite(length):
            raise EmbeddingError("the query's embedding holds NaN or infinity")


def _allowed(mask: Mask | None) -> Mask:
    return _EVERYTHING if mask is None else mask


def vectors(snapshot: Snapshot, switches: Switches) -> VectorIndex:
    """Return what a vector leg with these switches searches."""
    if switches.ann:
        return snapshot.ivf
    return snapshot.int8 if switches.int8 else snapshot.float32
