"""bm25s (scores computed at build, summed by numba) as a text index."""

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dtrag_core.bench.peers.base import PeerCorpus, Settings
from dtrag_core.bench.peers.packages import needed
from dtrag_core.types import Candidates, Progress


class Bm25sText:
    """bm25s with its numba backend."""

    name = "bm25s"
    package = "bm25s"

    def __init__(self) -> None:
        self._bm25s = needed(self.name, "bm25s", self.package)

    def settings(self) -> Settings:
        """Return the settings."""
        return {
            "text.method": "lucene",
            "text.backend": "numba",
            "text.threads": "1 a query, as a single query allows no more",
            "text.loaded": "memory-mapped",
        }

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Turn tokens into numbers here, and index the numbers."""
        numbers: dict[str, int] = {}
        documents = []
        for row, text in enumerate(corpus.texts()):
            tokens = text.split(" ") if text else ()
            documents.append(array("i", (numbers.setdefault(t, len(numbers)) for t in tokens)))
            if row % 10_000 == 0:
                progress("bm25s: tokens", row, corpus.chunks)
        progress("bm25s: scores", 0, None)
        k1, b = corpus.bm25.k1, corpus.bm25.b
        index = self._bm25s.BM25(k1=k1, b=b, method="lucene", backend="numba")
        index.index((documents, numbers), show_progress=False)
        index.save(str(directory), show_progress=False)

    def open(self, directory: Path) -> "OpenBm25s":
        """Open the index, memory-mapped."""
        loaded = self._bm25s.BM25.load(str(directory), mmap=True, show_progress=False)
        return OpenBm25s(loaded)


class OpenBm25s:
    """A loaded index."""

    def __init__(self, index: object) -> None:
        self._retrieve = index.retrieve  # type: ignore[attr-defined]
        self._chunks: int = index.scores["num_docs"]  # type: ignore[attr-defined]

    def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Return the `k` best chunks by BM25."""
        k = min(k, self._chunks)
        found, scores = self._retrieve([list(terms)], k=k, show_progress=False, n_threads=1)
        positive = scores[0] > 0
        return Candidates(found[0][positive].astype(np.int32, copy=False), scores[0][positive])
