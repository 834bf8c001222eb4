"""What the vector legs are measured against: the exact ten nearest of a set of queries."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from dtrag_core.bench.peers.base import PeerCorpus
from dtrag_core.types import FloatArray, IdArray, Progress

TOP: Final = 10
_ROWS: Final = 50_000
_SAME: Final = 1e-6
"""Cosines closer than this are one: any of the chunks that tie is a right answer."""


class ExactNearest:
    """The cosine of each query's tenth nearest chunk, found by reading every vector.

    vectors: float32[d] each; all zeros where a query has none.
    """

    def __init__(
        self, corpus: PeerCorpus, vectors: Sequence[FloatArray], progress: Progress
    ) -> None:
        self.vectors = tuple(vectors)
        self._corpus = corpus
        # Of a corpus of fewer than ten chunks every one is among the nearest.
        self._top = min(TOP, corpus.chunks)
        self._least = self._tenth_cosines(np.stack(vectors, axis=1), progress)

    def recall(self, near: Sequence[IdArray]) -> float | None:
        """Return the mean share of the exact ten among each query's ten first int32[n].

        Queries without a vector are left out; None if there is no other.
        """
        shares = []
        for vector, rows, least in zip(self.vectors, near, self._least, strict=True):
            if vector.any():
                cosines = self._corpus.vectors[np.sort(rows[: self._top])] @ vector
                shares.append(int((cosines >= least - _SAME).sum()) / self._top)
        return float(np.mean(shares)) if shares else None

    def _tenth_cosines(self, queries: FloatArray, progress: Progress) -> FloatArray:
        best = np.full((TOP, queries.shape[1]), -np.inf, np.float32)
        for start in range(0, self._corpus.chunks, _ROWS):
            progress("exact vector search", start, self._corpus.chunks)
            both = np.concatenate((best, self._corpus.vectors[start : start + _ROWS] @ queries))
            best = np.partition(both, len(both) - TOP, axis=0)[len(both) - TOP :]
        least: FloatArray = best.min(axis=0)
        return least
