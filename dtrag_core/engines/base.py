"""What an engine is: two legs, exact scores for any candidate, and the texts.

An engine is opened once and shared. A search talks to it through a `session`: it sees one state of
the corpus from beginning to end, whatever is written meanwhile, and an engine with connections can
give each leg one of its own. Ids are rows of that state; they mean nothing in another session
unless both have the same `info.content_hash`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dtrag_core.types import (
    CandidateBatch,
    Candidates,
    Chunk,
    Filters,
    FloatArray,
    Fusion,
    IdArray,
    Mask,
    Starts,
    Switches,
)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine holds.

    `content_hash` identifies what is searched (part of every cache key); `chunks` there are now,
    `most_chunks` there ever were; `cosine_min` is the fixed minimum of cosine normalisation,
    estimated at build; `fusion` the default chosen at build; `postings` counts (term, chunk) pairs.
    """

    name: str
    content_hash: str
    chunks: int
    most_chunks: int
    dimension: int
    cosine_min: float
    fusion: Fusion
    postings: int


class Session(Protocol):
    """One search's view of the engine. Its two legs may be called from two threads at once."""

    @property
    def info(self) -> EngineInfo:
        """What is searched."""
        ...

    def bm25_leg(self, query: str, depth: int, mask: Mask | None) -> Candidates:
        """Return the `depth` best chunks by BM25 among those the mask allows."""
        ...

    def vector_leg(self, vector: FloatArray, depth: int, mask: Mask | None) -> Candidates:
        """Return the `depth` best chunks by cosine among those the mask allows."""
        ...

    def bm25_scores(self, query: str, ids: IdArray) -> FloatArray:
        """Return the exact BM25 score float32[n] of each id."""
        ...

    def cosine_scores(self, vector: FloatArray, ids: IdArray) -> FloatArray:
        """Return the cosine float32[n] of each id."""
        ...

    def compile_filters(self, filters: Filters | None) -> Mask | None:
        """Return bool[chunks] of what the filters allow; None if they allow everything."""
        ...

    def fetch(self, ids: IdArray) -> Sequence[Chunk]:
        """Return the chunks with these ids, in this order."""
        ...

    def records(self, ids: IdArray) -> Sequence[bytes]:
        """Return these chunks as JSON objects of id, title, text, path and doc_type."""
        ...

    def names(self, ids: IdArray) -> Sequence[str]:
        """Return the dataset's ids of these chunks; no text is read."""
        ...

    @property
    def longest_text(self) -> int:
        """Bytes of the longest text: what any result of n hits has at most is n times that."""
        ...

    def text_bytes(self, ids: IdArray) -> Sequence[int]:
        """Return the size of each of these chunks' texts in bytes, without reading them."""
        ...


@runtime_checkable
class BatchSession(Session, Protocol):
    """A session that answers many queries in one call, each as the calls for one do.

    Of `CandidateBatch` and `starts` see `types`; `depths` int64[n] has one for each query.
    """

    def bm25_batch(
        self, queries: Sequence[str], depths: Starts, mask: Mask | None
    ) -> CandidateBatch:
        """Return what `bm25_leg` returns for each query."""
        ...

    def vector_batch(
        self, vectors: FloatArray, depths: Starts, mask: Mask | None
    ) -> CandidateBatch:
        """Return what `vector_leg` returns for each of float32[n, dimension]."""
        ...

    def bm25_scores_batch(self, queries: Sequence[str], ids: IdArray, starts: Starts) -> FloatArray:
        """Return what `bm25_scores` returns for each query's ids, one query after the other."""
        ...

    def cosine_scores_batch(self, vectors: FloatArray, ids: IdArray, starts: Starts) -> FloatArray:
        """Return what `cosine_scores` returns for each vector's ids, one after the other."""
        ...


class Engine(Protocol):
    """A searchable corpus."""

    @property
    def info(self) -> EngineInfo:
        """What this engine holds now."""
        ...

    def session(self, switches: Switches) -> Session:
        """Return a session whose legs use the structures the switches name."""
        ...

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[dimension] for a query."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), dimension], one row a query."""
        ...

    def chunk_ids(self) -> Sequence[str]:
        """Return the dataset's id of every chunk, by row."""
        ...

    def resident_bytes(self, switches: Switches) -> Mapping[str, int]:
        """Return the bytes a search with these switches needs resident, by part; texts apart."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...
