"""Fusing two rankings, and the ratio of two engines' tails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dtrag_core.bench.peers.fusing import rrf
from dtrag_core.bench.peers.ratios import p95_ratio
from dtrag_core.bench.rounds import RoundsResult

Rankings = st.lists(st.integers(0, 30), unique=True, max_size=12)


def int32(ids: list[int]) -> NDArray[np.int32]:
    return np.array(ids, np.int32)


@given(Rankings, Rankings)
def test_rrf_sums_reciprocal_ranks_whatever_the_order_of_the_legs(
    first: list[int], second: list[int]
) -> None:
    scores: dict[int, float] = {}
    for ranking in (first, second):
        for rank, each in enumerate(ranking, 1):
            scores[each] = scores.get(each, 0.0) + 1 / (60 + rank)
    found = rrf(int32(first), int32(second), 50).tolist()

    assert sorted(found) == sorted(scores)
    assert [scores[each] for each in found] == pytest.approx(sorted(scores.values(), reverse=True))
    assert found == rrf(int32(second), int32(first), 50).tolist()


def rounds(of: dict[str, NDArray[np.int64]]) -> RoundsResult:
    count = len(next(iter(of.values())))
    return RoundsResult(of, np.ones(count, np.int64), {name: np.ones(1, np.int64) for name in of})


def test_the_tails_ratio_is_that_of_the_pooled_percentiles_within_its_interval() -> None:
    rng = np.random.default_rng(1)
    base = rng.integers(100_000, 200_000, (30, 40))
    found = p95_ratio(rounds({"slow": 3 * base, "fast": base}), "slow", "fast")

    assert found is not None
    assert found.value == pytest.approx(3)
    assert found.low <= found.value <= found.high
    assert found.n == 30


def test_no_tail_is_compared_that_the_sample_does_not_carry() -> None:
    few = np.ones((9, 100), np.int64)

    assert p95_ratio(rounds({"a": few, "b": few}), "a", "b") is None
