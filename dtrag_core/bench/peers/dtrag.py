"""The search of this package, as its users call it, beside the peers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from dtrag_core.bench.load_result import FellBackError
from dtrag_core.bench.peers.base import PeerCorpus, PeerQuery, Settings
from dtrag_core.bench.peers.packages import versions_of
from dtrag_core.engines.embedded import EmbeddedEngine
from dtrag_core.index.manifest import FORMAT_VERSION
from dtrag_core.optimization.async_executor import AsyncExecutionOptimizer
from dtrag_core.optimization.plans import plans_for
from dtrag_core.search.dao import SearchDAO
from dtrag_core.types import (
    OPTIMIZED,
    Candidates,
    FloatArray,
    Fusion,
    IdArray,
    Mask,
    Mode,
    Progress,
    SearchParams,
)

BuildIndex: TypeAlias = Callable[[Path, Progress], None]
NAME, GIVEN_VECTORS, RRF = "dtrag", "dtrag-vectors", "dtrag-rrf"
_EVERYTHING: Final[Mask] = np.zeros(0, np.bool_)


class DtragPeer:
    """`SearchDAO.hybrid_search` on its optimised path, awaited on the running event loop.

    `build_index` builds the index of the corpus's dataset in a directory. As `dtrag` a search
    begins with the query's text, so that it analyses and embeds where the peers are given tokens
    and vector, fuses as it does by default, and ends with the texts of the hits. As `dtrag-vectors`
    it is given the vector and returns ids, as the peers do, but still analyses the text; as
    `dtrag-rrf` it fuses by reciprocal ranks, as the peers do.
    """

    index = NAME

    def __init__(self, build_index: BuildIndex, name: str = NAME) -> None:
        self._build_index = build_index
        self.name = name
        self._given = name == GIVEN_VECTORS
        self._fusion = Fusion("rrf") if name == RRF else None

    def versions(self) -> Mapping[str, str]:
        """Return the versions of this package and of the index it writes."""
        return {"index format": str(FORMAT_VERSION), **versions_of("dtrag-bench", "numpy", "numba")}

    def settings(self) -> Settings:
        """Return how it is called."""
        return {
            "call": f"await SearchDAO.{'search_ids' if self._given else 'hybrid_search'}(text), "
            "mode optimized, caches off",
            "given": "text and vector" if self._given else "text: analysing and embedding count",
            "returned": "ids" if self._given else "hits with their texts",
            "fusion": ("RRF, k = 60" if self._fusion else "the default chosen at build")
            + ", of every candidate's exact scores",
            "depths": "bm25_topk and vector_topk at the depth, rerank_candidates twice that",
            "index": "the whole index: texts, float32 and compressed vectors, embedder",
            "build": "embedding and choosing the fusion weight count",
        }

    def build(self, corpus: PeerCorpus, directory: Path, progress: Progress) -> None:
        """Build the index of the corpus's dataset."""
        self._build_index(directory / "index", progress)

    def open(self, corpus: PeerCorpus, directory: Path) -> "OpenDtrag":
        """Open the index."""
        kind = GivenVectorEngine if self._given else EmbeddedEngine
        return OpenDtrag(kind(directory / "index"), corpus, self._fusion)


class GivenVectorEngine(EmbeddedEngine):
    """An engine that is told the vector of the next query instead of embedding its text."""

    vector: FloatArray

    def embed_query(self, text: str) -> FloatArray:
        """Return the vector that was given."""
        return self.vector


class OpenDtrag:
    """A DAO on an open engine; rows are translated into those of the corpus."""

    def __init__(self, engine: EmbeddedEngine, corpus: PeerCorpus, fusion: Fusion | None) -> None:
        self._engine = engine
        self._fusion = fusion
        plans = plans_for(overlap=OPTIMIZED.overlap, shards=OPTIMIZED.shards)
        executor = AsyncExecutionOptimizer(plans=plans)
        self._dao = SearchDAO(engine, executor, switches=OPTIMIZED)
        self._row_of = {name: row for row, name in enumerate(corpus.chunk_ids)}
        self._rows = np.array([self._row_of[name] for name in engine.chunk_ids()], np.int32)

    async def bm25(self, terms: Sequence[str], k: int) -> Candidates:
        """Search the postings alone."""
        found = self._engine.bm25.search_words(terms, k, _EVERYTHING)
        return Candidates(self._rows.take(found.ids), found.scores)

    async def nearest(self, vector: FloatArray, k: int) -> IdArray:
        """Search the vectors of the optimised path."""
        found = self._engine.session(OPTIMIZED).vector_leg(vector, k, None)
        rows: IdArray = self._rows[found.ids]
        return rows

    async def hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Search as users do; given the vector, as the peers do: to ids, without reading texts."""
        if isinstance(self._engine, GivenVectorEngine):
            self._engine.vector = query.vector
            params = SearchParams(k, depth, depth, 2 * depth, fusion=self._fusion)
            ids = await self._dao.search_ids(query.text, params)
            return np.array([self._row_of[name] for name in ids], np.int32)
        return await self._search(query, k, depth, "optimized")

    async def exact_hybrid(self, query: PeerQuery, k: int, depth: int) -> IdArray:
        """Search the exact legacy path with the same fusion: what `hybrid` should find."""
        return await self._search(query, k, depth, "legacy")

    async def _search(self, query: PeerQuery, k: int, depth: int, mode: Mode) -> IdArray:
        if isinstance(self._engine, GivenVectorEngine):
            self._engine.vector = query.vector
        result = await self._dao.hybrid_search(
            query.text, None, k, depth, depth, 2 * depth, mode=mode, fusion=self._fusion
        )
        if result.mode != mode or result.degraded:
            raise FellBackError(
                f"asked for {mode}, answered by {result.mode}, degraded: {result.degraded}"
            )
        return np.array([self._row_of[hit.id] for hit in result.hits], np.int32)

    def close(self) -> None:
        """Release the engine."""
        self._dao.executor.close()
        self._engine.close()
