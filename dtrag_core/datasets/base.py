"""What a dataset is: a stream of chunks with judged queries, that says what it is good for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dtrag_core.config import AnalyzerSettings
from dtrag_core.types import Chunk, JudgedQuery, Split


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What a dataset is and what it may be used for.

    `spec` opens it again (`pydocs`, `beir:DIR`, ...); `fingerprint` changes whenever a chunk or a
    query would; `embedder` is the embedder spec it is best used with by default; `caveat` says
    what its figures are evidence for, and what they are not.
    """

    spec: str
    fingerprint: str
    analyzer: AnalyzerSettings
    embedder: str
    caveat: str


class Dataset(Protocol):
    """A corpus with judged queries. Chunks are streamed: they need not fit in memory."""

    @property
    def info(self) -> DatasetInfo:
        """What this dataset is."""
        ...

    def __len__(self) -> int:
        """Return the number of chunks."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Stream the chunks, always in the same order."""
        ...

    def queries(self, split: Split) -> Sequence[JudgedQuery]:
        """Return the judged queries of one split, always in the same order; none is empty."""
        ...

    def query_texts(self) -> Sequence[str]:
        """Return every query text the dataset holds, judged or not, in its own order."""
        ...
