"""The engine to copy when adding one's own: exact, in NumPy alone.

Every posting of a query's terms is added up and every vector compared, so it is slow and never
wrong: rankings of the other engines are held against its. To add an engine, change the bodies, keep
the signatures, and name the class in the `pyproject.toml` of its package:

    [project.entry-points."dtrag.peers"]
    mine = "my_package.my_module:MyPeer"
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dtrag_core.bench.peers.base import PeerCorpus, PeerQuery, Settings
from dtrag_core.bench.peers.fusing import rrf
from dtrag_core.bench.peers.packages import versions_of
from dtrag_core.types import Candidates, FloatArray, IdArray, Progress

_BATCH: Final = 4096
_TERMS, _OFFSETS, _ROWS, _IMPACTS = "terms.txt", "offsets.npy", "rows.npy", "impacts.npy"


class NumpyPeer:
    """Exact BM25 and exact cosine, fused by reciprocal ranks."""

    name = "numpy"
    index = "numpy"

    def versions(self) -> Mapping[str, str]:
        """Return the version of NumPy."""
        return versions_of("numpy")

    def settings(self) -> Settings:
        """Return how it searches."""
        return {"bm25": "exhaustive", "vectors": "exhaustive float32", "fusion": "RRF, k = 60"}

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Write the postings; the vectors are those of the corpus."""
        numbers: dict[str, int] = {}
        terms, rows, counts, lengths = [], [], [], np.zeros(corpus.chunks, np.int64)
        batch: list[NDArray[np.int64]] = []
        for row, text in enumerate(corpus.texts()):
            tokens = text.split(" ") if text else []
            batch.append(np.array([numbers.setdefault(t, len(numbers)) for t in tokens], np.int64))
            lengths[row] = len(tokens)
            if len(batch) == _BATCH or row + 1 == corpus.chunks:
                start = row + 1 - len(batch)
                owners = np.repeat(np.arange(start, row + 1), lengths[start : row + 1])
                keys, times = np.unique(owners << 32 | np.concatenate(batch), return_counts=True)
                terms.append((keys & 0xFFFFFFFF).astype(np.int32))
                rows.append((keys >> 32).astype(np.int32))
                counts.append(times.astype(np.float32))
                batch.clear()
                progress("numpy: postings", row + 1, corpus.chunks)
        term, owner, count = np.concatenate(terms), np.concatenate(rows), np.concatenate(counts)
        k1, b = corpus.bm25.k1, corpus.bm25.b
        saturation = k1 * (1 - b + b * lengths / max(lengths.mean(), 1e-9))
        impacts = count / (count + saturation.astype(np.float32)[owner])
        frequency = np.bincount(term, minlength=len(numbers))
        idf = np.log1p((corpus.chunks - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
        impacts *= idf[term]
        order = np.argsort(term, kind="stable")
        np.save(directory / _ROWS, owner[order])
        np.save(directory / _IMPACTS, impacts[order])
        np.save(directory / _OFFSETS, np.concatenate(([0], np.cumsum(frequency))))
        (directory / _TERMS).write_text("\n".join(numbers), encoding="utf-8")

    def open(self, corpus: PeerCorpus, directory: Path) -> "OpenNumpy":
        """Map the postings and read the vocabulary."""
        return OpenNumpy(corpus, directory)


class OpenNumpy:
    """The postings of `NumpyPeer`, mapped."""

    def __init__(self, corpus: PeerCorpus, directory: Path) -> None:
        terms = (directory / _TERMS).read_text(encoding="utf-8").split("\n")
        self._numbers = {term: number for number, term in enumerate(terms)}
        self._offsets = np.load(directory / _OFFSETS)
        self._rows = np.load(directory / _ROWS, mmap_mode="r")
        self._impacts = np.load(directory / _IMPACTS, mmap_mode="r")
        self._vectors = corpus.vectors

    async def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Add up the impacts of every posting."""
        scores = np.zeros(len(self._vectors), np.float32)
        for term in terms:
            number = self._numbers.get(term)
            if number is not None:
                here = slice(self._offsets[number], self._offsets[number + 1])
                scores[self._rows[here]] += self._impacts[here]
        best = _best(scores, k)
        best = best[scores[best] > 0]
        return Candidates(best, scores[best])

    async def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Compare with every vector."""
        return _best(self._vectors @ vector, k)

    async def hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Fuse both legs."""
        text = await self.bm25(query.terms, depth)
        return rrf(text.ids, await self.nearest(query.vector, depth), k)

    def close(self) -> None:
        """Nothing to release: the maps go with this object."""


def _best(scores: FloatArray, k: int) -> IdArray:
    """Return the rows of the `k` highest scores, descending, ties by row."""
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = np.flatnonzero(scores >= least)
    else:
        rows = np.arange(len(scores))
    best: IdArray = rows[np.argsort(-scores[rows], kind="stable")[:k]].astype(np.int32)
    return best
