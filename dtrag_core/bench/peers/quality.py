"""How good the answers of each engine are, against exact search and against judgments.

Outside the timed region, on queries in every form and rankings of rows.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from dtrag_core.bench.peers.base import OpenPeer, PeerCorpus, PeerQuery
from dtrag_core.bench.peers.recall import TOP, ExactNearest
from dtrag_core.bench.quality import ndcg_at, overlap_at
from dtrag_core.types import IdArray, Progress

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
        self._top = min(TOP, corpus.chunks)
        self._exact_nearest: ExactNearest | None = None
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
        near = [await peer.nearest(asked.query.vector, depth) for asked in self._asked]
        return {
            **self._measures(found, wanted),
            "reference": "its own fusion of exact legs" if own else "RRF of exact legs",
            "vector_recall_at_10": self._nearest().recall(near),
        }

    def _nearest(self) -> ExactNearest:
        if self._exact_nearest is None:
            vectors = [asked.query.vector for asked in self._asked]
            self._exact_nearest = ExactNearest(self._corpus, vectors, self._progress)
        return self._exact_nearest

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
            overlap.append(overlap_at(ranking, reference, TOP))
            if asked.relevant:
                ndcg.append(ndcg_at(ranking, asked.relevant, TOP))
                exact_ndcg.append(ndcg_at(reference, asked.relevant, TOP))
        return {
            "queries": len(overlap),
            "overlap_at_10": float(np.mean(overlap)),
            "judged": len(ndcg),
            "ndcg_at_10": float(np.mean(ndcg)) if ndcg else None,
            "exact_ndcg_at_10": float(np.mean(exact_ndcg)) if ndcg else None,
        }
