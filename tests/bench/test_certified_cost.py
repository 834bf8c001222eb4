"""What certified searches cost, on a small real corpus."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from dtrag_core.bench.arms import INT8_ARM, Depths
from dtrag_core.bench.certified_cost import USUAL, certified_cost
from dtrag_core.bench.workload import distinct_queries
from dtrag_core.datasets.registry import open_dataset
from dtrag_core.engines.embedded import EmbeddedEngine


@pytest.fixture(scope="module")
def engine(small_index: Path) -> Iterator[EmbeddedEngine]:
    opened = EmbeddedEngine(small_index)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def queries(corpus_file: Path) -> list[str]:
    return distinct_queries(open_dataset(f"jsonl:{corpus_file}"), 40, 0)


def test_legs_of_the_whole_corpus_find_the_certified_ranking(
    engine: EmbeddedEngine, queries: list[str]
) -> None:
    chunks = engine.info.chunks
    depths = Depths(10, chunks, chunks, 2 * chunks)
    cost = asyncio.run(certified_cost(engine, queries, depths=depths, rounds=3))
    assert cost.agreements[INT8_ARM].ranking.value == 1
    assert cost.agreements[INT8_ARM].overlap == 1
    assert {each.rounds for each in cost.certificates} == {1}
    assert cost.vector_depths == {chunks: len(queries)}


def test_shallow_legs_are_deepened_and_every_query_is_counted(
    engine: EmbeddedEngine, queries: list[str]
) -> None:
    depths = Depths(10, 10, 10, 20)
    cost = asyncio.run(certified_cost(engine, queries, depths=depths, rounds=3))
    assert max(cost.vector_depths) > 10
    assert sum(cost.vector_depths.values()) == len(queries)
    for name in USUAL:
        agreement = cost.agreements[name]
        assert agreement.ranking.value <= agreement.chosen.value <= 1
        assert agreement.ranking.n == len(queries)
    assert set(cost.to_json()["agreement"]) == set(USUAL)
