"""The embedded engine: an index directory, memory-mapped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dtrag_core.embedding.registry import restore_embedder
from dtrag_core.engines.base import EngineInfo
from dtrag_core.engines.embedded_session import EmbeddedSession, vectors
from dtrag_core.engines.generations import Generations
from dtrag_core.index.arrays import read_archive
from dtrag_core.index.bm25_segments import BM25Index
from dtrag_core.index.builder import EMBEDDER
from dtrag_core.index.filters import FilterIndex
from dtrag_core.index.manifest import Manifest
from dtrag_core.index.snapshot import Snapshot
from dtrag_core.index.warm_up import warm_up, warm_up_batches
from dtrag_core.ranking import fusion, fusion_batch
from dtrag_core.text.analyzer import Analyzer
from dtrag_core.types import FloatArray, Switches


class EmbeddedEngine:
    """Searches one index directory; shared by threads, and its pages by processes.

    Opening maps the files and runs each kernel once, so that no search pays for compiling; pages
    are read ahead in the background, those of vectors once these are used. When a writer has put a
    new generation in place, it is opened in the background and serves the searches that begin
    after that; `refresh` waits for it. If it cannot be opened, or is of another index, searches go
    on with the generation there is: a warning is logged, `outdated` says why, and it is tried
    again. Raises the IndexDirectoryError family on a directory it cannot use.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._generations = Generations(directory)
        self._analyzer = Analyzer(self.manifest.analyzer)
        self._embedder = restore_embedder(
            self.manifest.embedder, read_archive(directory / EMBEDDER)
        )
        self._generations.use("postings")
        warm_up(self.snapshot)
        fusion.warm_up()

    def warm_up_batches(self) -> None:
        """Load what searches many queries at once, so that nobody waits for it later."""
        warm_up_batches(self.snapshot)
        fusion_batch.warm_up()

    @property
    def info(self) -> EngineInfo:
        """What this engine holds now."""
        return self._generations.present.info

    @property
    def snapshot(self) -> Snapshot:
        """The generation searched now."""
        return self._generations.present.snapshot

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

    @property
    def outdated(self) -> Exception | None:
        """Why a newer generation that was found could not be opened; None if all is well."""
        return self._generations.failure

    def session(self, switches: Switches) -> EmbeddedSession:
        """Return a session over the present generation, which keeps it to its end."""
        self._generations.look()
        self._generations.use("codes" if switches.int8 or switches.ann else "float32")
        return EmbeddedSession(self._analyzer, self._generations.present, switches)

    def refresh(self) -> None:
        """Serve the newest generation from now on.

        Raises the IndexDirectoryError family if it cannot be opened, IndexMismatchError if another
        index has taken the directory's place; the present one is served on then.
        """
        self._generations.refresh()

    def embed_query(self, text: str) -> FloatArray:
        """Return float32[dimension] for a query."""
        return self._embedder.embed_query(text)

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[len(texts), dimension], one row a query."""
        return self._embedder.embed_queries(texts)

    def chunk_ids(self) -> Sequence[str]:
        """Return the dataset's id of every chunk, by row."""
        return self.snapshot.chunk_ids

    def resident_bytes(self, switches: Switches) -> Mapping[str, int]:
        """Return the bytes a search with these switches needs resident, by part; texts apart."""
        snapshot = self.snapshot
        return {
            "vectors": vectors(snapshot, switches).nbytes,
            "postings": snapshot.bm25.nbytes,
            "vocabulary": snapshot.bm25.vocabulary_bytes,
            "filters": snapshot.filters.nbytes,
        }

    def close(self) -> None:
        """Stop looking for generations; mapped arrays go with the last session that uses them."""
        self._generations.close()
