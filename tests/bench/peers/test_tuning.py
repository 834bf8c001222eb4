"""Vector legs are compared at equal recall."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from dtrag_core.bench.peers.base import PeerCorpus
from dtrag_core.bench.peers.corpus import Prepared
from dtrag_core.bench.peers.recall import ExactNearest
from dtrag_core.bench.peers.template import NumpyPeer, OpenNumpy
from dtrag_core.bench.peers.tuning import tune
from dtrag_core.errors import MeasuringError
from dtrag_core.types import FloatArray, IdArray, no_progress

QUERIES = ("wren sings hedge", "pike hunts lake", "otter swims river", "vole digs meadow")


class FirstRows(OpenNumpy):
    """Exact search of as many rows as its effort, from the first."""

    efforts: Sequence[int] = (100, 300, 500)
    effort = 100

    async def nearest(self, vector: FloatArray, k: int) -> IdArray:
        order = np.argsort(-(self._vectors[: self.effort] @ vector), kind="stable")
        return order[:k].astype(np.int32)


@pytest.fixture
def search(corpus: PeerCorpus, tmp_path_factory: pytest.TempPathFactory) -> FirstRows:
    directory = tmp_path_factory.mktemp("numpy")
    NumpyPeer().build(corpus, directory, no_progress)
    return FirstRows(corpus, directory)


def nearest(prepared: Prepared, texts: Sequence[str]) -> ExactNearest:
    vectors = [prepared.query(text).vector for text in texts]
    return ExactNearest(prepared.corpus, vectors, no_progress)


@pytest.mark.parametrize(("floor", "effort"), [(0.0, 100), (0.5, 300), (1.0, 500)])
def test_the_least_effort_that_holds_the_floor_is_taken(
    search: FirstRows, prepared: Prepared, floor: float, effort: int
) -> None:
    found = asyncio.run(tune(search, nearest(prepared, QUERIES), 10, floor))
    assert found.effort == search.effort == effort
    assert found.recall_at_10 >= floor
    assert found.queries == len(QUERIES)


def test_the_most_is_taken_and_its_recall_told_if_none_holds_it(
    search: FirstRows, prepared: Prepared
) -> None:
    search.efforts = (100, 200)
    found = asyncio.run(tune(search, nearest(prepared, QUERIES), 10, 1.0))
    assert (found.effort, search.effort) == (200, 200)
    assert 0 < found.recall_at_10 < 1


def test_queries_without_a_vector_cannot_be_tuned_on(search: FirstRows, prepared: Prepared) -> None:
    with pytest.raises(MeasuringError, match="no query to tune on"):
        asyncio.run(tune(search, nearest(prepared, ["zzz"]), 10, 0.9))
