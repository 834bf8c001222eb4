"""Properties of fusion."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrag_core.errors import InvalidRequestError
from dtrag_core.ranking.fusion import (
    check_fusion,
    fuse,
    fuse_best,
    order_by_score,
    union_by_rank,
    union_of_few,
    union_with_scores,
    weighted_sum,
)
from dtrag_core.types import Candidates, Fusion, IdArray

FUSIONS = [Fusion("weighted", 0.4), Fusion("weighted", 0.0), Fusion("weighted", 1.0), Fusion("rrf")]
SCORES = st.lists(
    st.tuples(st.floats(0, 30, width=32), st.floats(-1, 1, width=32)), min_size=1, max_size=30
)


def as_ids(values: list[int]) -> IdArray:
    return np.array(values, np.int32)


@pytest.mark.parametrize("fusion", FUSIONS)
@given(scores=SCORES, seed=st.integers(0, 1_000))
def test_the_order_of_candidates_does_not_matter(
    fusion: Fusion, scores: list[tuple[float, float]], seed: int
) -> None:
    bm25, cosine = np.array(scores, np.float32).T.copy()
    ids = np.arange(len(scores), dtype=np.int32)
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    fused = fuse(bm25, cosine, fusion, -0.2)
    again = fuse(bm25[shuffled], cosine[shuffled], fusion, -0.2)
    assert fused[shuffled].tolist() == again.tolist()
    best = ids[order_by_score(ids, fused, cosine, 10)]
    best_again = ids[shuffled][order_by_score(ids[shuffled], again, cosine[shuffled], 10)]
    assert best.tolist() == best_again.tolist()


@given(scores=SCORES)
def test_a_weight_of_one_or_zero_is_one_leg_alone(scores: list[tuple[float, float]]) -> None:
    bm25, cosine = np.array(scores, np.float32).T.copy()
    ids = np.arange(len(scores), dtype=np.int32)
    only_bm25 = weighted_sum(bm25, cosine, 1.0, -1.0)
    positive = bm25 > 1e-3
    ordered = only_bm25[np.argsort(-bm25)]
    assert (np.diff(ordered) <= 1e-6).all()
    assert (only_bm25[positive] > 0).all()
    only_cosine = weighted_sum(bm25, cosine, 0.0, -1.0)
    assert (np.diff(only_cosine[np.argsort(-cosine)]) <= 1e-6).all()
    assert len(order_by_score(ids, only_cosine, cosine, 3)) == min(3, len(ids))


WEIGHTS = st.floats(0, 1)


@given(SCORES, WEIGHTS, st.floats(-1, 1))
def test_a_weighted_sum_is_in_0_to_1_and_grows_with_either_score(
    scores: list[tuple[float, float]], weight: float, cosine_min: float
) -> None:
    bm25, cosine = np.array(scores, np.float32).T.copy()
    fused = weighted_sum(bm25, cosine, weight, cosine_min)
    assert ((fused >= 0) & (fused <= 1)).all()
    for this in range(len(fused)):
        not_better = (bm25 <= bm25[this]) & (cosine <= cosine[this])
        assert (fused[not_better] <= fused[this]).all()


@given(SCORES, WEIGHTS, st.floats(-1, 1))
def test_a_maximum_of_cosines_counts_whole_from_the_fixed_minimum_on_and_less_below(
    scores: list[tuple[float, float]], weight: float, cosine_min: float
) -> None:
    cosine = np.array(scores, np.float32)[:, 1].copy()
    most = weighted_sum(np.zeros_like(cosine), cosine, weight, cosine_min).max()
    whole = np.float32(1) - np.float32(weight)
    if cosine.max() > np.float32(cosine_min):
        assert most == whole
    else:
        assert most <= whole
        assert len(cosine) > 1 or most == 0


def test_a_leg_that_found_nothing_contributes_nothing() -> None:
    nothing, cosine = np.zeros(3, np.float32), np.array([0.1, 0.9, 0.5], np.float32)
    assert weighted_sum(nothing, cosine, 0.4, 0.0).argmax() == 1
    rrf = fuse(nothing, cosine, Fusion("rrf", rrf_k=60), 0.0)
    np.testing.assert_allclose(rrf, [1 / 63, 1 / 61, 1 / 62], rtol=1e-6)


def test_equal_scores_go_by_cosine_then_by_id() -> None:
    scores = np.array([0.5, 0.5, 0.5, 0.9], np.float32)
    cosine = np.array([0.1, 0.3, 0.1, 0.0], np.float32)
    assert order_by_score(as_ids([7, 5, 2, 9]), scores, cosine, 4).tolist() == [3, 1, 2, 0]


def test_rrf_by_hand() -> None:
    bm25 = np.array([3.0, 2.0, 0.0], np.float32)
    cosine = np.array([0.1, 0.2, 0.3], np.float32)
    expected = [1 / 61 + 1 / 63, 1 / 62 + 1 / 62, 1 / 61]
    np.testing.assert_allclose(fuse(bm25, cosine, Fusion("rrf"), 0.0), expected, rtol=1e-6)


@given(
    st.lists(st.integers(0, 20), unique=True, max_size=15),
    st.lists(st.integers(0, 20), unique=True, max_size=15),
    st.integers(1, 40),
)
def test_union_takes_turns_and_stops_at_the_cap(a: list[int], b: list[int], cap: int) -> None:
    ids, ranks = union_by_rank(as_ids(a), as_ids(b), cap)
    union = ids.tolist()
    for ranking, found in zip((a, b), ranks.tolist(), strict=True):
        assert found == [ranking.index(each) if each in ranking else -1 for each in union]
    assert len(union) == len(set(union)) == min(cap, len(set(a) | set(b)))
    assert set(union) <= set(a) | set(b)
    if cap >= 2 and a and b:
        assert {a[0], b[0]} <= set(union)


@given(st.integers(0, 10_000), st.integers(1, 3_000))
def test_the_union_of_many_is_that_of_few(seed: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.permutation(1_500)[: rng.integers(400, 1_200)].astype(np.int32) for _ in range(2))
    for many, few in zip(union_by_rank(a, b, cap), union_of_few(a, b, cap), strict=True):
        assert many.tolist() == few.tolist()


@given(st.integers(0, 10_000), st.sampled_from([30, 700]), st.integers(1, 60))
def test_a_union_has_the_scores_of_both_rankings(seed: int, size: int, cap: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (
        Candidates(
            rng.permutation(2 * size)[:size].astype(np.int32), rng.random(size, dtype=np.float32)
        )
        for _ in range(2)
    )
    ids, scores, no_first, no_second = union_with_scores(first, second, cap)
    assert ids.tolist() == union_by_rank(first.ids, second.ids, cap)[0].tolist()
    for ranking, known, missing in ((first, scores[0], no_first), (second, scores[1], no_second)):
        score_of = dict(zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True))
        assert known.tolist() == [score_of.get(each, 0.0) for each in ids.tolist()]
        assert ids[missing].tolist() == [each for each in ids.tolist() if each not in score_of]


@given(
    st.integers(0, 10_000),
    st.sampled_from([0, 1, 40, 600]),
    st.sampled_from([Fusion(), Fusion("weighted", 1), Fusion("rrf")]),
    st.integers(1, 60),
)
def test_the_best_are_fused_and_put_in_order(
    seed: int, size: int, fusion: Fusion, topk: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(size).astype(np.int32)
    scores = rng.integers(0, 4, (2, size)).astype(np.float32)
    best, of = fuse_best(ids, scores, fusion, 0.5, topk)
    fused = fuse(scores[0], scores[1], fusion, 0.5)
    places = order_by_score(ids, fused, scores[1], topk)
    assert best.tolist() == ids[places].tolist()
    np.testing.assert_array_equal(of, np.stack((fused, *scores))[:, places])


@pytest.mark.parametrize(
    ("fusion", "said"),
    [
        (Fusion("weighted", 1.2), "1.2"),
        (Fusion("weighted", float("nan")), "nan"),
        (Fusion("rrf", rrf_k=0), "got 0"),
        (Fusion("borda"), "borda"),  # type: ignore[arg-type]
    ],
)
def test_parameters_outside_their_domain_are_named(fusion: Fusion, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        check_fusion(fusion)


def test_every_kernel_that_a_search_may_run_is_loaded_by_warming_up() -> None:
    code = (
        "from dtrag_core.ranking import fusion as f\n"
        "f.warm_up()\n"
        "loaded = [f.known_scores, f.weighted, f.first_of_few,"
        " f.union_of_few_with_scores, f.fuse_best_of_few]\n"
        "assert all(each.overloads for each in loaded)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
