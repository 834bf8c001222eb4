"""Hybrid search on judged queries: how good each leg and each fusion is, and the best weight.

Outside the timed region, on an engine's exact legs; the fusing is that of the search itself.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dtrag_core.bench.quality import best_weight, ndcg_at, recall_at
from dtrag_core.bench.statistics import Interval, paired_interval
from dtrag_core.engines.base import Engine
from dtrag_core.optimization.core_threads import allowed_cores
from dtrag_core.ranking.fusion import fuse, order_by_score, union_by_rank
from dtrag_core.types import (
    LEGACY,
    FloatArray,
    Fusion,
    IdArray,
    JudgedQuery,
    Progress,
    no_progress,
)

DEPTH: Final = 50
RECALL_DEPTH: Final = 100
MIN_TRAIN: Final = 30
WEIGHTS: Final = tuple(round(step / 20, 2) for step in range(21))
"""BM25's weights that are tried on the train queries."""


@dataclass(frozen=True, slots=True, eq=False)
class QueryLegs:
    """Both legs of one judged query, `RECALL_DEPTH` deep, best first, and both completed scores.

    `ids` int32[n] is the union of the legs; `bm25` and `cosine` float32[n] belong to it. `shallow`
    are the positions of what legs of `DEPTH` would have brought.
    """

    query: JudgedQuery
    bm25_ids: IdArray
    vector_ids: IdArray
    ids: IdArray
    bm25: FloatArray
    cosine: FloatArray
    shallow: NDArray[np.intp]

    def fused(self, fusion: Fusion, cosine_min: float, k: int, *, deep: bool = False) -> IdArray:
        """Return the best `k` ids, fused from legs of `DEPTH`, or of `RECALL_DEPTH` if `deep`."""
        places = np.arange(len(self.ids)) if deep else self.shallow
        ids, cosine = self.ids[places], self.cosine[places]
        scores = fuse(self.bm25[places], cosine, fusion, cosine_min)
        best: IdArray = ids[order_by_score(ids, scores, cosine, k)]
        return best


def run_legs(
    engine: Engine, queries: Sequence[JudgedQuery], progress: Progress = no_progress
) -> list[QueryLegs]:
    """Search every query by both exact legs and complete both scores, on all cores."""
    found = []
    with ThreadPoolExecutor(len(allowed_cores())) as pool:
        for legs in pool.map(partial(_legs, engine), queries):
            found.append(legs)
            progress("judged queries", len(found), len(queries))
    return found


def _legs(engine: Engine, query: JudgedQuery) -> QueryLegs:
    session = engine.session(LEGACY)
    vector = engine.embed_query(query.text)
    bm25 = session.bm25_leg(query.text, RECALL_DEPTH, None).ids
    near = session.vector_leg(vector, RECALL_DEPTH, None).ids
    ids, _ = union_by_rank(bm25, near, 2 * RECALL_DEPTH)
    shallow, _ = union_by_rank(bm25[:DEPTH], near[:DEPTH], 2 * DEPTH)
    return QueryLegs(
        query,
        bm25,
        near,
        ids,
        session.bm25_scores(query.text, ids),
        session.cosine_scores(vector, ids),
        np.flatnonzero(np.isin(ids, shallow)),
    )


class Judged:
    """The legs of a set of judged queries, and the quality of what can be made of them."""

    def __init__(
        self, engine: Engine, queries: Sequence[JudgedQuery], progress: Progress = no_progress
    ) -> None:
        self._cosine_min = engine.info.cosine_min
        self._names = engine.chunk_ids()
        self.legs = run_legs(engine, queries, progress)

    def ndcg(self, fusion: Fusion) -> NDArray[np.float64]:
        """Return nDCG@10 of the fused ranking, float64[queries]."""
        return self._each(
            [legs.fused(fusion, self._cosine_min, 10) for legs in self.legs], ndcg_at, 10
        )

    def best_fusion(self) -> tuple[Fusion, dict[float, float]]:
        """Return the weighted sum of the highest mean nDCG@10, and the mean of every weight."""
        curve = {weight: float(self.ndcg(Fusion("weighted", weight)).mean()) for weight in WEIGHTS}
        return Fusion("weighted", best_weight(curve)), curve

    def methods(self, fusion: Fusion) -> tuple[dict[str, Any], dict[str, Interval]]:
        """Return nDCG@10 and recall@100 of each method, and hybrid's gain over each leg.

        Methods: `bm25`, `vector`, `weighted` (this fusion), `rrf`. Gains are paired intervals of
        nDCG@10 differences.
        """
        rankings = {
            "bm25": [legs.bm25_ids for legs in self.legs],
            "vector": [legs.vector_ids for legs in self.legs],
        }
        ndcg = {name: self._each(found, ndcg_at, 10) for name, found in rankings.items()}
        for name, method in (("weighted", fusion), ("rrf", Fusion("rrf"))):
            ndcg[name] = self.ndcg(method)
            rankings[name] = [
                legs.fused(method, self._cosine_min, RECALL_DEPTH, deep=True) for legs in self.legs
            ]
        methods = {
            name: {
                "ndcg_at_10": float(ndcg[name].mean()),
                "recall_at_100": float(self._each(rankings[name], recall_at, 100).mean()),
            }
            for name in rankings
        }
        gains = {leg: paired_interval(ndcg["weighted"], ndcg[leg]) for leg in ("bm25", "vector")}
        return methods, gains

    def _each(self, rankings: Sequence[IdArray], measure: "Measure", k: int) -> NDArray[np.float64]:
        return np.array(
            [
                measure([self._names[row] for row in ids], legs.query.relevant, k)
                for ids, legs in zip(rankings, self.legs, strict=True)
            ]
        )


class Measure(Protocol):
    """A measure of one ranking."""

    def __call__(self, ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
        """Return its value at depth k."""
        ...


def choose_fusion(
    engine: Engine, train: Sequence[JudgedQuery], progress: Progress = no_progress
) -> Fusion:
    """Return the default fusion of an engine: the best on the train queries, if they are enough.

    A handful of queries would choose by chance, and could switch a leg off.
    """
    if len(train) < MIN_TRAIN:
        return Fusion()
    return Judged(engine, train, progress).best_fusion()[0]
