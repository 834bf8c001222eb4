"""What certified search costs, and how often the usual search needed no certificate.

Compared are the usual optimised search, one with exact legs (the arm `int8`), and certified search
over the same int8 codes. Where only the first differs from the certified ranking, its lists missed
something; where the second does, its legs were not deep enough (the share of queries settled at its
depth says how often) or their candidates had another least cosine than the corpus.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dtrag_core.bench.arms import INT8_ARM, OPTIMIZED_ARM, Depths, open_arm
from dtrag_core.bench.clock import NS_PER_MS, Clock, RealClock, Service
from dtrag_core.bench.quality import overlap_at
from dtrag_core.bench.rounds import ratio, run_rounds
from dtrag_core.bench.statistics import Interval, clopper_pearson
from dtrag_core.bench.workload import round_queries
from dtrag_core.engines.base import Engine
from dtrag_core.search.certified import Certificate
from dtrag_core.types import Fusion, Progress, SearchParams, no_progress

CERTIFIED: Final = "certified"
USUAL: Final = (OPTIMIZED_ARM, INT8_ARM)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one usual search compares with the certified one over all queries.

    `ranking` and `chosen`: the share of queries with the same top k in the same order, and in any.
    `overlap`: the mean share of the certified top k found. `latency`: certified over usual.
    """

    ranking: Interval
    chosen: Interval
    overlap: float
    latency: Interval

    def to_json(self) -> dict[str, Any]:
        """Return the fields under their names."""
        return {
            "same_ranking": self.ranking.to_json(),
            "same_set": self.chosen.to_json(),
            "mean_overlap": self.overlap,
            "latency_ratio": self.latency.to_json(),
        }


@dataclass(frozen=True, slots=True)
class CertifiedCost:
    """The comparison with each of `USUAL`, every query's certificate, and median latencies, ms."""

    depths: Depths
    chunks: int
    fusion: Fusion
    agreements: Mapping[str, Agreement]
    certificates: tuple[Certificate, ...]
    median_ms: Mapping[str, float]

    @property
    def settled(self) -> Interval:
        """The share of queries that were certified at the depth of the usual search."""
        return _share([each.rounds == 1 for each in self.certificates])

    @property
    def vector_depths(self) -> dict[int, int]:
        """How many queries ended at each depth of the vector leg."""
        return dict(sorted(Counter(each.vector_depth for each in self.certificates).items()))

    def to_json(self) -> dict[str, Any]:
        """Return everything; certificates as distributions."""
        scored = np.quantile([each.scored for each in self.certificates], (0.5, 0.95, 1)).tolist()
        return {
            "topk": self.depths.topk,
            "depth": self.depths.vector_topk,
            "chunks": self.chunks,
            "fusion": self.fusion.method,
            "queries": len(self.certificates),
            "settled_at_depth": self.settled.to_json(),
            "agreement": {name: each.to_json() for name, each in self.agreements.items()},
            "vector_depths": {str(depth): n for depth, n in self.vector_depths.items()},
            "scored": dict(zip(("p50", "p95", "max"), scored, strict=True)),
            "median_ms": dict(self.median_ms),
        }


async def certified_cost(
    engine: Engine,
    queries: Sequence[str],
    *,
    depths: Depths | None = None,
    rounds: int = 10,
    seed: int = 0,
    clock: Clock | None = None,
    progress: Progress = no_progress,
) -> CertifiedCost:
    """Search every query by each path, then time the paths in `rounds` paired rounds.

    All queries are timed once, but for a remainder that warms up. Raises MeasuringError for fewer
    than two rounds, or fewer queries than rounds.
    """
    depths = depths or Depths()
    params = SearchParams(depths.topk, depths.bm25_topk, depths.vector_topk)
    arms = {name: open_arm(engine, name, depths) for name in USUAL}
    dao = arms[OPTIMIZED_ARM].dao

    async def certified(query: str) -> None:
        await dao.certified_search(query, params)

    services: dict[str, Service[str]] = {**arms, CERTIFIED: certified}
    each_round = max(1, (len(queries) - 1) // rounds)
    drawn = round_queries(queries, rounds, each_round, len(queries) - rounds * each_round, seed)
    try:
        found: dict[str, list[list[str]]] = {name: [] for name in services}
        certificates = []
        for done, query in enumerate(queries, 1):
            for name, arm in arms.items():
                found[name].append([hit.id for hit in (await arm.search(query)).hits])
            proven = await dao.certified_search(query, params)
            found[CERTIFIED].append([hit.id for hit in proven.hits])
            certificates.append(proven.certificate)
            progress("certified rankings", done, len(queries))
        timed = await run_rounds(
            services,
            drawn.batches,
            clock or RealClock(),
            warmup=drawn.warmup,
            on_round=lambda done: progress("paired rounds", done + 1, rounds),
        )
    finally:
        for arm in arms.values():
            arm.close()
    agreements = {
        name: _agreement(found[name], found[CERTIFIED], ratio([timed], CERTIFIED, name))
        for name in USUAL
    }
    medians = {name: float(np.median(ns)) / NS_PER_MS for name, ns in timed.latencies.items()}
    info = engine.info
    return CertifiedCost(depths, info.chunks, info.fusion, agreements, tuple(certificates), medians)


def _agreement(
    usual: Sequence[Sequence[str]], certified: Sequence[Sequence[str]], latency: Interval
) -> Agreement:
    pairs = list(zip(usual, certified, strict=True))
    overlaps = [overlap_at(a, b, len(b)) for a, b in pairs]
    return Agreement(
        _share([a == b for a, b in pairs]),
        _share([set(a) == set(b) for a, b in pairs]),
        float(np.mean(overlaps)),
        latency,
    )


def _share(held: Sequence[bool]) -> Interval:
    return Interval(float(np.mean(held)), *clopper_pearson(sum(held), len(held)), len(held))
