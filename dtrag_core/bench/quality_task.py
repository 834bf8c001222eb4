"""Quality of one index: its methods on judged queries, and the optimised path against legacy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from dtrag_core.bench.arms import LEGACY_ARM, OPTIMIZED_ARM, open_arm
from dtrag_core.bench.judged import Judged
from dtrag_core.bench.quality import equal_quality, ndcg_at, overlap_at
from dtrag_core.bench.tasks import TaskInput, run
from dtrag_core.datasets.base import Dataset
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.engines.base import Engine
from dtrag_core.types import Progress

T = TypeVar("T")

MAX_JUDGED: Final = 2_000
"""Judged queries of a split that are used, evenly spaced; more resolve nothing that matters."""

_UNJUDGED: Final = 1_000
_TOP: Final = 10


def quality(task: TaskInput, progress: Progress) -> dict[str, Any]:
    """Measure quality; `part` is the dataset's spec. Outside any timed region."""
    dataset = open_dataset(task.part)
    engine = task.open()
    test = thinned(dataset.queries("test"), MAX_JUDGED)
    relevant = {query.text: query.relevant for query in test}
    asked = [query.text for query in test] or list(task.queries[:_UNJUDGED])
    rankings = {
        name: run(_rankings(engine, name, task, asked, progress))
        for name in (LEGACY_ARM, OPTIMIZED_ARM)
    }
    legacy, optimized = rankings[LEGACY_ARM], rankings[OPTIMIZED_ARM]
    overlap = [overlap_at(a, b, _TOP) for a, b in zip(optimized, legacy, strict=True)]
    ndcg = {
        name: [
            ndcg_at(ranking, relevant[query], _TOP)
            for query, ranking in zip(asked, found, strict=True)
            if query in relevant
        ]
        for name, found in rankings.items()
    }
    equal = equal_quality(overlap, ndcg[OPTIMIZED_ARM], ndcg[LEGACY_ARM])
    return {
        "judged": _judged(engine, dataset, progress) if test else None,
        "optimized_vs_legacy": equal.to_json(),
    }


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """Return at most `most` items, evenly spaced over all of them."""
    if len(items) <= most:
        return items
    return [items[number * len(items) // most] for number in range(most)]


def _judged(engine: Engine, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    train = thinned(dataset.queries("train"), MAX_JUDGED)
    fusion = engine.info.fusion
    curve = Judged(engine, train, progress).best_fusion()[1] if train else {}
    test = Judged(engine, thinned(dataset.queries("test"), MAX_JUDGED), progress)
    methods, gains = test.methods(fusion)
    return {
        "queries": len(test.legs),
        "methods": methods,
        "weight": {
            "chosen": fusion.bm25_weight,
            "curve": [{"weight": weight, "ndcg_at_10": value} for weight, value in curve.items()],
        },
        "hybrid_minus_bm25": gains["bm25"].to_json(),
        "hybrid_minus_vector": gains["vector"].to_json(),
    }


async def _rankings(
    engine: Engine, name: str, task: TaskInput, queries: Sequence[str], progress: Progress
) -> list[list[str]]:
    depths = task.settings.depths
    depths = replace(depths, topk=min(depths.topk, engine.info.chunks))
    arm = open_arm(engine, name, depths)
    found = []
    for query in queries:
        result = await arm.search(query)
        found.append([hit.id for hit in result.hits])
        progress(f"quality, {name}", len(found), len(queries))
    arm.close()
    return found
