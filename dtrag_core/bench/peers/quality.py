"""How good the answers of each engine are, against exact search and against judgments.

Outside the timed region, on queries in every form and rankings of rows.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np

from dtrag_core.bench.peers.base import OpenPeer, PeerCorpus, PeerQuery
from dtrag_core.bench.quality import ndcg_at, overlap_at
from dtrag_core.types import FloatArray, IdArray, Progress

_TOP: Final = 10
_ROWS: Final = 50_000
_SAME: Final = 1e-6
"""Cosines closer than this are one: any of the chunks that tie is a right answer."""


HybridSearch: TypeAlias = Callable[[PeerQuery, int, int], Awaitable[IdArray]]


@runtime_checkable
class OwnFusion(Protocol):
    """An engine whose fusion is not RRF, and that can say what it should find."""

    async def exact_hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Return its fusion of exact legs."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A query, and its judgments: chunk id -> gain; empty if it has none."""

    query: PeerQuery
    relevant: Mapping[str, int]


class Judge:
    """Holds what exact search finds for a set of queries, and measures engines against it."""

    def __init__(
        self, corpus: PeerCorpus, exact: OpenPeer, asked: Sequence[Asked], progress: Progress
    ) -> None:
        self._corpus = corpus
        self._exact = exact
        self._asked = asked
        self._progress = progress
        self._top = min(_TOP, corpus.chunks)
        self._cosines: FloatArray | None = None
        self._worded: list[IdArray] = []
        self._fused: list[IdArray] = []

    async def bm25(self, name: str, peer: OpenPeer) -> dict[str, Any]:
        """Return overlap@10 with exact BM25, and nDCG@10 beside that of exact BM25."""
        if not self._worded:
            self._worded = [
                (await self._exact.bm25(asked.query.terms, self._top)).ids
                for asked in self._told("exact BM25")
            ]
        found = [(await peer.bm25(asked.query.terms, self._top)).ids for asked in self._told(name)]
        return self._measures(found, self._worded)

    async def hybrid(self, name: str, peer: OpenPeer, depth: int) -> dict[str, Any]:
        """Return overlap@10 with exact hybrid search, nDCG@10 of both, the vector leg's recall@10.

        Exact hybrid search is RRF of the exact legs; of an engine that fuses otherwise it is its
        own fusion of exact legs.
        """
        own = isinstance(peer, OwnFusion)
        if isinstance(peer, OwnFusion):
            wanted = await self._each(f"{name}, exact", peer.exact_hybrid, depth)
        else:
            if not self._fused:
                self._fused = await self._each("exact hybrid search", self._exact.hybrid, depth)
            wanted = self._fused
        found = await self._each(name, peer.hybrid, depth)
        near = [
            (await peer.nearest(asked.query.vector, depth))[: self._top] for asked in self._asked
        ]
        return {
            **self._measures(found, wanted),
            "reference": "its own fusion of exact legs" if own else "RRF of exact legs",
            "vector_recall_at_10": self._recall(near),
        }

    async def _each(self, name: str, search: HybridSearch, depth: int) -> list[IdArray]:
        return [await search(asked.query, self._top, depth) for asked in self._told(name)]

    def _told(self, name: str) -> Iterator[Asked]:
        for number, asked in enumerate(self._asked):
            self._progress(f"quality: {name}", number, len(self._asked))
            yield asked

    def _measures(self, found: Sequence[IdArray], wanted: Sequence[IdArray]) -> dict[str, Any]:
        names = self._corpus.chunk_ids
        overlap, ndcg, exact_ndcg = [], [], []
        for asked, ids, exact in zip(self._asked, found, wanted, strict=True):
            ranking = [names[row] for row in ids]
            reference = [names[row] for row in exact]
            overlap.append(overlap_at(ranking, reference, _TOP))
            if asked.relevant:
                ndcg.append(ndcg_at(ranking, asked.relevant, _TOP))
                exact_ndcg.append(ndcg_at(reference, asked.relevant, _TOP))
        return {
            "queries": len(overlap),
            "overlap_at_10": float(np.mean(overlap)),
            "judged": len(ndcg),
            "ndcg_at_10": float(np.mean(ndcg)) if ndcg else None,
            "exact_ndcg_at_10": float(np.mean(exact_ndcg)) if ndcg else None,
        }

    def _recall(self, near: Sequence[IdArray]) -> float | None:
        """Return the mean share of the exact ten nearest; queries without a vector aside."""
        least = self._tenth_cosines()
        shares = []
        for asked, rows, bound in zip(self._asked, near, least, strict=True):
            if asked.query.vector.any():
                cosines = self._corpus.vectors[np.sort(rows)] @ asked.query.vector
                shares.append(int((cosines >= bound - _SAME).sum()) / self._top)
        return float(np.mean(shares)) if shares else None

    def _tenth_cosines(self) -> FloatArray:
        """Return each query's cosine to its tenth nearest chunk, float32[queries]."""
        if self._cosines is None:
            queries = np.stack([asked.query.vector for asked in self._asked], axis=1)
            best = np.full((_TOP, queries.shape[1]), -np.inf, np.float32)
            for start in range(0, self._corpus.chunks, _ROWS):
                self._progress("exact vector search", start, self._corpus.chunks)
                both = np.concatenate((best, self._corpus.vectors[start : start + _ROWS] @ queries))
                best = np.partition(both, len(both) - _TOP, axis=0)[len(both) - _TOP :]
            # Of a corpus of fewer than ten chunks every one is among the nearest.
            self._cosines = best.min(axis=0)
        return self._cosines
