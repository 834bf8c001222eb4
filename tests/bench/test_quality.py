import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.bench.quality import (
    best_weight,
    equal_quality,
    ndcg_at,
    overlap_at,
    recall_at,
)
from dtrag_core.errors import MeasuringError

IDS = [f"d{number}" for number in range(12)]
judgments = st.dictionaries(st.sampled_from(IDS), st.integers(1, 3), min_size=1)
rankings = st.permutations(IDS)


@given(judgments)
def test_the_ideal_ranking_has_ndcg_and_recall_1(relevant: dict[str, int]) -> None:
    ideal = sorted(IDS, key=lambda each: -relevant.get(each, 0))
    assert ndcg_at(ideal, relevant, 12) == pytest.approx(1)
    assert ndcg_at(ideal, relevant, 3) == pytest.approx(1)
    assert recall_at(ideal, relevant, len(relevant)) == 1


@given(judgments, rankings, st.integers(1, 12))
def test_no_ranking_is_above_the_ideal(
    relevant: dict[str, int], ranking: list[str], k: int
) -> None:
    assert 0 <= ndcg_at(ranking, relevant, k) <= 1 + 1e-12
    assert 0 <= recall_at(ranking, relevant, k) <= 1
    assert ndcg_at([], relevant, k) == recall_at([], relevant, k) == 0


@given(judgments, rankings, st.integers(0, 10))
def test_swapping_a_better_chunk_up_never_lowers_ndcg(
    relevant: dict[str, int], ranking: list[str], at: int
) -> None:
    swapped = ranking.copy()
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
    change = ndcg_at(swapped, relevant, 12) - ndcg_at(ranking, relevant, 12)
    gain = relevant.get(ranking[at + 1], 0) - relevant.get(ranking[at], 0)
    assert math.copysign(1, change) == math.copysign(1, gain) if gain else change == 0


def test_gains_are_linear_and_the_ideal_is_cut_at_k() -> None:
    relevant = {"a": 3, "b": 1, "zero": 0}
    expected = (1 / math.log2(2) + 3 / math.log2(4)) / (3 / math.log2(2) + 1 / math.log2(3))
    assert ndcg_at(["b", "x", "a", "zero"], relevant, 10) == pytest.approx(expected)
    assert ndcg_at(["a"], relevant, 1) == 1
    assert recall_at(["b", "x", "zero"], relevant, 10) == 0.5


@given(rankings, rankings, st.integers(1, 12))
def test_overlap_is_symmetric_and_1_of_a_ranking_with_itself(
    a: list[str], b: list[str], k: int
) -> None:
    assert overlap_at(a, b, k) == overlap_at(b, a, k)
    assert overlap_at(a, a, k) == 1


def test_overlap_of_short_rankings() -> None:
    assert overlap_at(["a", "b"], ["b"], 10) == 0.5
    assert overlap_at(["a"], [], 10) == 0
    assert overlap_at([], [], 10) == 1


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(MeasuringError, match="'a' is there twice"):
        ndcg_at(["a", "b", "a"], {"a": 1}, 3)
    with pytest.raises(MeasuringError, match="no chunk is judged relevant"):
        recall_at(["a"], {"a": 0}, 3)
    with pytest.raises(MeasuringError, match="not 0"):
        overlap_at(["a"], ["a"], 0)


def test_the_best_weight_is_the_highest_and_among_equals_the_most_even() -> None:
    assert best_weight({0.0: 0.6, 0.4: 0.74, 1.0: 0.7}) == 0.4
    assert best_weight({0.1: 0.7, 0.6: 0.7, 0.9: 0.7}) == 0.6
    with pytest.raises(MeasuringError, match="no weight"):
        best_weight({})


def test_equal_quality_needs_the_whole_interval_above_the_margin() -> None:
    rng = np.random.default_rng(0)
    legacy = rng.uniform(0, 1, 300)
    same = equal_quality(np.ones(300), legacy, legacy)
    assert same.equal
    assert same.to_json()["ndcg_difference"]["value"] == 0
    slightly = equal_quality(np.ones(300), legacy + rng.normal(0, 0.01, 300), legacy)
    assert slightly.equal
    unsure = equal_quality(np.ones(300), legacy + rng.normal(0, 0.2, 300), legacy)
    assert not unsure.equal  # its mean may be fine: 300 queries cannot tell
    worse = equal_quality(np.ones(300), legacy - 0.006, legacy)
    assert not worse.equal


def test_without_judgments_overlap_decides() -> None:
    assert equal_quality([1.0] * 99 + [0.6]).equal
    assert not equal_quality([1.0] * 99 + [0.4]).equal
    assert equal_quality([1.0]).to_json() == {
        "queries": 1,
        "overlap_at_10": 1.0,
        "ndcg_difference": None,
        "margin": -0.005,
        "equal": True,
        "basis": "overlap",
    }
    with pytest.raises(MeasuringError, match="no query"):
        equal_quality([])
    with pytest.raises(MeasuringError, match="3 != 2"):
        equal_quality([1.0], [0.1, 0.2, 0.3], [0.1, 0.2])
