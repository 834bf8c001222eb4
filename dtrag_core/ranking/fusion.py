"""Fusing two legs: pure functions on arrays.

Sources: reciprocal rank fusion, Cormack, Clarke and Buettcher 2009; convex combination with a
fixed minimum, Bruch, Gai and Ingber 2023.
"""

from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from dtrag_core.errors import InvalidRequestError
from dtrag_core.types import Candidates, FloatArray, Fusion, IdArray

BM25_MINIMUM: Final = 0.0


_FEW: Final = 512


def union_by_rank(first: IdArray, second: IdArray, cap: int) -> tuple[IdArray, NDArray[np.int32]]:
    """Return at most `cap` distinct ids int32[m] of two rankings, taking turns from their heads.

    In neither of them an id comes twice. And int32[2, m], the rank of each in either ranking, from
    0; -1 where it is not in it.
    """
    if len(first) + len(second) <= _FEW:
        few: tuple[IdArray, NDArray[np.int32]] = union_of_few(first, second, cap)
        return few
    longest = max(len(first), len(second))
    turns = np.full((longest, 2), -1, np.int32)
    turns[: len(first), 0], turns[: len(second), 1] = first, second
    taken = turns.ravel()
    taken = taken[taken >= 0]
    _, places = np.unique(taken, return_index=True)
    union: IdArray = taken[np.sort(places)[:cap]]
    return union, np.stack([_ranks_in(first, union), _ranks_in(second, union)])


def _ranks_in(ranking: IdArray, ids: IdArray) -> NDArray[np.int32]:
    """Return what `_ranks_of` does, of many, by sorting."""
    order = np.argsort(ranking, kind="stable")
    places = np.searchsorted(ranking, ids, sorter=order).clip(max=len(ranking) - 1)
    ranks = order[places].astype(np.int32) if len(ranking) else np.zeros(len(ids), np.int32)
    return np.where(ranking[ranks] == ids, ranks, -1) if len(ranking) else ranks - 1


@numba.njit(cache=True, nogil=True)
def union_of_few(first: IdArray, second: IdArray, cap: int) -> tuple[IdArray, NDArray[np.int32]]:
    """Return the same by comparing each with all: the quickest way for a few hundred."""
    in_second, in_first = _ranks_of(first, second), _ranks_of(second, first)
    most = min(cap, len(first) + len(second))
    union, ranks, found = np.empty(most, np.int32), np.empty((2, most), np.int32), 0
    for turn in range(max(len(first), len(second))):
        if turn < len(first) and found < most and not 0 <= in_second[turn] < turn:
            union[found], ranks[0, found], ranks[1, found] = first[turn], turn, in_second[turn]
            found += 1
        if turn < len(second) and found < most and not 0 <= in_first[turn] <= turn:
            union[found], ranks[0, found], ranks[1, found] = second[turn], in_first[turn], turn
            found += 1
    return union[:found], ranks[:, :found].copy()


@numba.njit(cache=True, nogil=True)
def _ranks_of(ids: IdArray, ranking: IdArray) -> NDArray[np.int32]:
    """Return int32[n], the rank of each id in a ranking, -1 where it is not in it."""
    ranks = np.empty(len(ids), np.int32)
    for which in range(len(ids)):
        found = np.int32(-1)
        for rank in range(len(ranking)):  # without a branch, eight at a time
            found = max(found, np.int32(rank) if ranking[rank] == ids[which] else np.int32(-1))
        ranks[which] = found
    return ranks


@numba.njit(cache=True, nogil=True)
def known_scores(
    ranks: NDArray[np.int32], first: FloatArray, second: FloatArray
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """Return each candidate's scores float32[2, m] by its ranks int32[2, m] in both rankings.

    `first` and `second` are the rankings' scores. And the candidates that the first has no score
    for, and those that the second has none for, int64.
    """
    scores = np.zeros(ranks.shape, np.float32)
    for place in range(ranks.shape[1]):
        if ranks[0, place] >= 0:
            scores[0, place] = first[ranks[0, place]]
        if ranks[1, place] >= 0:
            scores[1, place] = second[ranks[1, place]]
    return scores, np.flatnonzero(ranks[0] < 0), np.flatnonzero(ranks[1] < 0)


def union_with_scores(
    first: Candidates, second: Candidates, cap: int
) -> tuple[IdArray, FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids int32[m] of `union_by_rank`, and what `known_scores` knows of them."""
    if len(first.ids) + len(second.ids) <= _FEW:
        few: tuple[IdArray, FloatArray, NDArray[np.int64], NDArray[np.int64]] = (
            union_of_few_with_scores(first.ids, first.scores, second.ids, second.scores, cap)
        )
        return few
    ids, ranks = union_by_rank(first.ids, second.ids, cap)
    return ids, *known_scores(ranks, first.scores, second.scores)


@numba.njit(cache=True, nogil=True)
def union_of_few_with_scores(
    first: IdArray, first_scores: FloatArray, second: IdArray, second_scores: FloatArray, cap: int
) -> tuple[IdArray, FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    """Return what `union_with_scores` does."""
    ids, ranks = union_of_few(first, second, cap)
    scores, no_first, no_second = known_scores(ranks, first_scores, second_scores)
    return ids, scores, no_first, no_second


def warm_up() -> None:
    """Run every kernel once, so that no search pays for loading one."""
    one = Candidates(np.zeros(1, np.int32), np.ones(1, np.float32))
    ids, scores, _, _ = union_with_scores(one, one, 1)
    fuse_best(ids, scores, Fusion(), 0.0, 1)
    # What is not of few, or not weighted, runs these.
    known_scores(np.zeros((2, 1), np.int32), one.scores, one.scores)
    order_by_score(ids, weighted_sum(one.scores, one.scores, 0.5, 0.0), one.scores, 1)


def check_fusion(fusion: Fusion) -> None:
    """Raise InvalidRequestError unless the fusion's parameters are in their domains."""
    if fusion.method not in ("weighted", "rrf"):
        raise InvalidRequestError(f"unknown fusion {fusion.method!r}; known: rrf, weighted")
    if not 0 <= fusion.bm25_weight <= 1:
        raise InvalidRequestError(f"bm25_weight must be in 0..1, got {fusion.bm25_weight}")
    if fusion.rrf_k < 1:
        raise InvalidRequestError(f"rrf_k must be at least 1, got {fusion.rrf_k}")


def fuse(bm25: FloatArray, cosine: FloatArray, fusion: Fusion, cosine_min: float) -> FloatArray:
    """Return the fused score float32[n] of n candidates from both exact scores float32[n]."""
    if fusion.method == "rrf":
        return reciprocal_ranks(bm25, cosine, fusion.rrf_k)
    return weighted_sum(bm25, cosine, fusion.bm25_weight, cosine_min)


def weighted_sum(
    bm25: FloatArray, cosine: FloatArray, bm25_weight: float, cosine_min: float
) -> FloatArray:
    """Return w * normalised BM25 + (1 - w) * normalised cosine, float32[n].

    Normalisation maps the fixed minimum (0 for BM25, `cosine_min`, or the least cosine here where
    that is lower) to 0 and the query's maximum to 1, or `cosine_min` where no cosine reaches it: so
    chunks that are all far off gain little by being the least far. A leg whose maximum does not
    exceed its minimum says nothing and contributes 0.
    """
    fused: FloatArray = weighted(bm25, cosine, np.float32(bm25_weight), np.float32(cosine_min))
    return fused


@numba.njit(cache=True, nogil=True)
def weighted(
    bm25: FloatArray, cosine: FloatArray, bm25_weight: np.float32, cosine_min: np.float32
) -> FloatArray:
    """Return what `weighted_sum` does."""
    most_bm25, most_cosine = np.float32(BM25_MINIMUM), cosine_min
    for place in range(len(cosine)):
        cosine_min = min(cosine_min, cosine[place])
        most_cosine = max(most_cosine, cosine[place])
        most_bm25 = max(most_bm25, bm25[place])
    fused = np.zeros(len(bm25), np.float32)
    if most_bm25 > BM25_MINIMUM:
        fused += bm25_weight * (bm25 / most_bm25)
    if most_cosine > cosine_min:
        share = np.float32(1) - bm25_weight
        fused += share * ((cosine - cosine_min) / (most_cosine - cosine_min))
    return fused


def fuse_best(
    ids: IdArray, scores: FloatArray, fusion: Fusion, cosine_min: float, topk: int
) -> tuple[IdArray, FloatArray]:
    """Return the ids int32[n] of the `topk` best by `fuse` and `order_by_score`.

    And float32[3, n]: their fused scores, BM25 and cosine; of all, `scores` float32[2, m] holds the
    last two.
    """
    bm25, cosine = scores
    if fusion.method == "weighted" and len(ids) <= _FEW:
        few: tuple[IdArray, FloatArray] = fuse_best_of_few(
            ids, bm25, cosine, float(fusion.bm25_weight), float(cosine_min), min(topk, len(ids))
        )
        return few
    fused = fuse(bm25, cosine, fusion, cosine_min)
    best = order_by_score(ids, fused, cosine, topk)
    return ids[best], np.stack((fused[best], bm25[best], cosine[best]))


@numba.njit(cache=True, nogil=True)
def fuse_best_of_few(
    ids: IdArray,
    bm25: FloatArray,
    cosine: FloatArray,
    bm25_weight: float,
    cosine_min: float,
    count: int,
) -> tuple[IdArray, FloatArray]:
    """Return what `fuse_best` does, by the weighted sum."""
    fused = weighted(bm25, cosine, np.float32(bm25_weight), np.float32(cosine_min))
    best_ids, best_scores = np.empty(count, np.int32), np.empty((3, count), np.float32)
    for place, which in enumerate(first_of_few(ids, fused, cosine, count)):
        best_ids[place] = ids[which]
        best_scores[0, place] = fused[which]
        best_scores[1, place], best_scores[2, place] = bm25[which], cosine[which]
    return best_ids, best_scores


def reciprocal_ranks(bm25: FloatArray, cosine: FloatArray, rrf_k: int) -> FloatArray:
    """Return the sum over legs of 1 / (rrf_k + rank), float32[n]; ranks are among the candidates.

    A candidate without any query term (BM25 0) is not ranked by BM25. Ties share the better rank,
    so that the order of candidates does not matter.
    """
    by_bm25 = np.where(bm25 > BM25_MINIMUM, 1.0 / (rrf_k + _ranks(bm25)), 0.0)
    return (by_bm25 + 1.0 / (rrf_k + _ranks(cosine))).astype(np.float32)


def order_by_score(
    ids: IdArray, scores: FloatArray, cosine: FloatArray, topk: int
) -> NDArray[np.intp]:
    """Return the positions of the `topk` best: descending score, ties by cosine, then by id.

    Reciprocal ranks tie often (first and second, second and first): by id alone, the order in which
    the index happens to keep its rows would decide the ranking.
    """
    if len(ids) <= _FEW:
        best: NDArray[np.intp] = first_of_few(ids, scores, cosine, min(topk, len(ids)))
        return best
    return np.lexsort((ids, -cosine, -scores))[:topk]


@numba.njit(cache=True, nogil=True)
def first_of_few(
    ids: IdArray, scores: FloatArray, cosine: FloatArray, count: int
) -> NDArray[np.intp]:
    """Return the same by inserting each into the best so far."""
    best = np.empty(count + 1, np.intp)
    filled = 0
    for candidate in range(len(ids)):
        place = filled
        while place > 0:
            other = best[place - 1]
            if scores[other] != scores[candidate]:
                ahead = scores[candidate] > scores[other]
            elif cosine[other] != cosine[candidate]:
                ahead = cosine[candidate] > cosine[other]
            else:
                ahead = ids[candidate] < ids[other]
            if not ahead:
                break
            best[place] = other
            place -= 1
        if place < count:
            best[place] = candidate
            filled = min(filled + 1, count)
    return best[:count]


def _ranks(scores: FloatArray) -> NDArray[np.intp]:
    ascending = np.sort(scores)
    return len(scores) - np.searchsorted(ascending, scores, side="right") + 1
