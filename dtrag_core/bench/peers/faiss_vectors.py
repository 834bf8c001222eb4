"""faiss's HNSW graph as a vector index."""

from pathlib import Path
from typing import Final

import numpy as np

from dtrag_core.bench.peers.base import PeerCorpus, Settings
from dtrag_core.bench.peers.packages import needed
from dtrag_core.types import FloatArray, IdArray, Progress

_LINKS, _EF_CONSTRUCTION = 32, 200
_EFFORTS: Final = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
_BATCH: Final = 20_000
_FILE: Final = "hnsw.faiss"


class FaissVectors:
    """IndexHNSWFlat over float32: faiss's advice where memory is no concern."""

    name = "faiss"
    package = "faiss-cpu"

    def __init__(self) -> None:
        self._faiss = needed(self.name, "faiss", self.package)

    def settings(self) -> Settings:
        """Return the settings: `HNSW32`, efConstruction raised; efSearch is tuned."""
        return {
            "vectors.index": f"HNSW{_LINKS}, float32, inner product of unit vectors",
            "vectors.efConstruction": _EF_CONSTRUCTION,
            "vectors.efSearch": f"tuned, of {', '.join(map(str, _EFFORTS))}",
        }

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Add the vectors in batches, on every core."""
        faiss = self._faiss
        index = faiss.IndexHNSWFlat(corpus.dimension, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _EF_CONSTRUCTION
        for start in range(0, corpus.chunks, _BATCH):
            progress("faiss: graph", start, corpus.chunks)
            index.add(np.ascontiguousarray(corpus.vectors[start : start + _BATCH]))
        faiss.write_index(index, str(directory / _FILE))

    def open(self, directory: Path) -> "OpenFaiss":
        """Read the index into memory."""
        return OpenFaiss(self._faiss.read_index(str(directory / _FILE)))


class OpenFaiss:
    """A loaded graph; `effort` is efSearch."""

    efforts = _EFFORTS

    def __init__(self, index: object) -> None:
        self._index = index
        self.effort = _EFFORTS[0]

    def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Return the `k` nearest chunks by cosine."""
        self._index.hnsw.efSearch = max(self.effort, k)  # type: ignore[attr-defined]
        _, found = self._index.search(vector[None], k)  # type: ignore[attr-defined]
        rows: IdArray = found[0][found[0] >= 0].astype(np.int32)
        return rows
